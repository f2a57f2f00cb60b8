/**
 * What a handler's fiber runs with, at as little memory as an idle connection should cost.
 *
 * A handler has the services of its server, and a scope of its own. `Context.add` would copy the table of the services
 * for every connection, and a fork puts the context it is given before the one that the fiber refs hold already, on a
 * stack that takes 170 bytes when it has two. So the scope is laid over the table of the server's services, and the
 * server's fiber refs are kept without a context.
 */
import * as Context from "effect/Context"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import { withHandlerScheduler } from "./handlerScheduler.js"

const { key } = Scope.Scope

const unchangeable = (): never => {
  throw new TypeError("the services of a context can't be changed: Context.add makes a context that has more")
}

/** The services of a server with the scope of one handler. */
class ScopedServices implements Map<string, any> {
  constructor(private readonly services: ReadonlyMap<string, any>, private readonly scope: Scope.Scope) {}

  get [Symbol.toStringTag](): string {
    return "Map"
  }
  get size(): number {
    return this.services.size + (this.services.has(key) ? 0 : 1)
  }
  has(name: string): boolean {
    return name === key || this.services.has(name)
  }
  get(name: string): any {
    return name === key ? this.scope : this.services.get(name)
  }
  *entries(): MapIterator<[string, any]> {
    yield [key, this.scope]
    for (const entry of this.services) {
      if (entry[0] !== key) {
        yield entry
      }
    }
  }
  [Symbol.iterator](): MapIterator<[string, any]> {
    return this.entries()
  }
  *keys(): MapIterator<string> {
    for (const [name] of this) {
      yield name
    }
  }
  *values(): MapIterator<any> {
    for (const [, service] of this) {
      yield service
    }
  }
  forEach(f: (service: any, name: string, all: Map<string, any>) => void, thisArg?: unknown): void {
    for (const [name, service] of this) {
      f.call(thisArg, service, name, this)
    }
  }
  set(): this {
    return unchangeable()
  }
  delete(): boolean {
    return unchangeable()
  }
  clear(): void {
    unchangeable()
  }
}

/** That of a server, for its handlers. */
export const ofServer = <R>(runtime: Runtime.Runtime<R>): Runtime.Runtime<R> => {
  const { context, fiberRefs, runtimeFlags } = withHandlerScheduler(runtime)
  return Runtime.make({ context, runtimeFlags, fiberRefs: FiberRefs.delete(fiberRefs, FiberRef.currentContext) })
}

/** That of one handler. */
export const ofHandler = <R>(
  { context, fiberRefs, runtimeFlags }: Runtime.Runtime<R>,
  scope: Scope.Scope
): Runtime.Runtime<R | Scope.Scope> =>
  Runtime.make({
    context: Context.unsafeMake<R | Scope.Scope>(new ScopedServices(context.unsafeMap, scope)),
    runtimeFlags,
    fiberRefs
  })
