/** The places for connections: so many in all, and who comes when all are taken still gets one. */
import type { Socket } from 'node:net'
import { PaceByAddress, type Measure } from './pace.ts'

/**
 * The address with the most connections gives up the one on which it has asked nothing for longest. So nobody keeps others
 * out by holding connections open, and who opens them without end closes only their own. Even that only so often, since
 * a connection costs more than its refusal; beyond, it is the new one that is closed.
 */
export class Places {
  readonly #most: number
  /** With their addresses; first the one whose last request is longest ago. */
  readonly #open = new Map<Socket, string>()
  /** Those that are not given up. */
  readonly #kept = new Set<Socket>()
  readonly #replaced: PaceByAddress

  /**
   * @param most more than are ever kept
   * @param replaced how often an address may have one of its own closed for a new one
   */
  constructor(most: number, replaced: Measure) {
    this.#most = most
    this.#replaced = new PaceByAddress(replaced)
  }

  take(socket: Socket, nowMs: number): void {
    const address = socket.remoteAddress ?? ''
    if (this.#open.size + this.#kept.size >= this.#most && !this.#makeRoom(address, nowMs)) {
      socket.destroy()
      return
    }
    this.#open.set(socket, address)
    socket.once('close', () => {
      this.#open.delete(socket)
      this.#kept.delete(socket)
    })
  }

  /** Something is asked on it. */
  use(socket: Socket): void {
    const address = this.#open.get(socket)
    if (address === undefined) return
    this.#open.delete(socket)
    this.#open.set(socket, address)
  }

  /** It stays until it ends by itself. */
  keep(socket: Socket): void {
    if (this.#open.delete(socket)) this.#kept.add(socket)
  }

  #makeRoom(newcomer: string, nowMs: number): boolean {
    const counts = new Map<string, number>()
    for (const address of this.#open.values()) counts.set(address, (counts.get(address) ?? 0) + 1)
    const most = Math.max(...counts.values())
    if (counts.get(newcomer) === most && !this.#replaced.take(newcomer, nowMs)) return false
    for (const [socket, address] of this.#open) {
      if (counts.get(address) !== most) continue
      this.#open.delete(socket)
      socket.destroy()
      return true
    }
    return false
  }
}
