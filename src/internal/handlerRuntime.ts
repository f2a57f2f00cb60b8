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

/** The services of a server with the scope of one handler; copied when all of them are asked for, as to add one more. */
class ScopedServices implements Map<string, any> {
  private copy: Map<string, any> | undefined = undefined

  constructor(private readonly services: ReadonlyMap<string, any>, private readonly scope: Scope.Scope) {}

  has(name: string): boolean {
    return name === key || this.services.has(name)
  }
  get(name: string): any {
    return name === key ? this.scope : this.services.get(name)
  }

  private get all(): Map<string, any> {
    return this.copy ??= new Map(this.services).set(key, this.scope)
  }
  get [Symbol.toStringTag](): string {
    return "Map"
  }
  get size(): number {
    return this.all.size
  }
  entries(): MapIterator<[string, any]> {
    return this.all.entries()
  }
  [Symbol.iterator](): MapIterator<[string, any]> {
    return this.all.entries()
  }
  keys(): MapIterator<string> {
    return this.all.keys()
  }
  values(): MapIterator<any> {
    return this.all.values()
  }
  forEach(f: (service: any, name: string, all: Map<string, any>) => void, thisArg?: unknown): void {
    this.all.forEach((service, name) => f.call(thisArg, service, name, this))
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
