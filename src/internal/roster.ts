/**
 * Who is there: a set in the order of arrival, whose members hold each other by the hand.
 *
 * A `Set` that has lived for a while makes its tables in the old generation, a new one after some sixteen members have
 * come and gone. Each table that it leaves there holds those who were members then, and all that they hold, until a full
 * collection. Here nothing is left behind.
 */

/** What a member has for its place. It may be in one roster at a time. */
export abstract class Member {
  /** @internal */
  previous: this | undefined = undefined
  /** @internal */
  next: this | undefined = undefined
  /** @internal */
  present = false
}

export class Roster<M extends Member> implements Iterable<M> {
  size = 0
  private first: M | undefined = undefined
  private last: M | undefined = undefined

  add(member: M): void {
    if (member.present) {
      return
    }
    member.present = true
    member.previous = this.last
    if (this.last === undefined) {
      this.first = member
    } else {
      this.last.next = member
    }
    this.last = member
    this.size += 1
  }

  delete(member: M): void {
    if (!member.present) {
      return
    }
    const { next, previous } = member
    if (previous === undefined) {
      this.first = next
    } else {
      previous.next = next
    }
    if (next === undefined) {
      this.last = previous
    } else {
      next.previous = previous
    }
    // Or one who has gone, and grown old, would keep all who came after.
    member.previous = undefined
    member.next = undefined
    member.present = false
    this.size -= 1
  }

  /** To be used up before anybody comes or goes. */
  *[Symbol.iterator](): Iterator<M> {
    for (let member = this.first; member !== undefined; member = member.next) {
      yield member
    }
  }
}
