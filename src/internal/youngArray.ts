/**
 * Arrays that are garbage when nobody has them any more.
 *
 * V8 counts, for each array or object literal in the source, how many of what it made outlive a scavenge, and makes the
 * rest in the old generation once nearly all do. What a stream emits comes to that while the program warms up. From then
 * on every batch is born old, and all its lines live with it until a full collection: a line of 80 bytes costs five times
 * as much. An array that a built-in function makes is not counted.
 */
const none: ReadonlyArray<never> = []

/** An empty array of its own. */
export const youngArray = <A>(): Array<A> => none.slice()
