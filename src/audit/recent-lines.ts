/**
 * The hashes of the last lines. A sender of syslog that cannot know what arrived sends up to 1 MiB of records again, in the
 * order in which they were, and so they stand in the trail twice.
 */
const MAX_BYTES = 2 * 1024 * 1024

export class RecentLines {
  readonly #bytesOf = new Map<string, number>()
  #bytes = 0

  has(hash: string): boolean {
    return this.#bytesOf.has(hash)
  }

  add(hash: string, bytes: number): void {
    this.#bytesOf.set(hash, bytes)
    this.#bytes += bytes
    for (const [oldest, size] of this.#bytesOf) {
      if (this.#bytes <= MAX_BYTES) break
      this.#bytesOf.delete(oldest)
      this.#bytes -= size
    }
  }
}
