/** One line that says how far things have come, where somebody is looking. */
export class Progress {
  private done = 0
  private readonly start = performance.now()

  constructor(private readonly total: number) {}

  step(text: string): void {
    if (process.stderr.isTTY) {
      const left = this.done === 0 ? "" : `, ${this.left()} left`
      process.stderr.write(`\r\x1b[K${this.done + 1}/${this.total}${left}  ${text}`.slice(0, process.stderr.columns))
    }
    this.done++
  }

  clear(): void {
    if (process.stderr.isTTY) {
      process.stderr.write("\r\x1b[K")
    }
  }

  private left(): string {
    const seconds = (performance.now() - this.start) / 1e3 / this.done * (this.total - this.done)
    return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`
  }
}
