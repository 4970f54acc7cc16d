/**
 * Connects again and again to port 443 of one address that is let in and of one that is not, for a while, and prints how
 * often it did, and how often each was reached. Whether a packet was dropped on the way is for the packet filter to say:
 * a clock would only say how busy the machine is.
 *
 *     node knock.ts ALLOWED FORBIDDEN MILLISECONDS
 */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const [allowed = '', forbidden = '', lasting = '0'] = process.argv.slice(2)
/** Then the next one needs the socket more. */
const PATIENCE_MS = 800

const knock = (host: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host, port: 443 })
    const answer = (reached: boolean): void => {
      socket.destroy()
      resolve(reached)
    }
    socket.setTimeout(PATIENCE_MS, () => answer(false))
    socket.once('connect', () => answer(true))
    socket.once('error', () => answer(false))
  })

const found = { knocks: 0, allowed: 0, forbidden: 0 }
const knocks: Promise<void>[] = []
const end = performance.now() + Number(lasting)
while (performance.now() < end) {
  found.knocks += 1
  knocks.push(
    knock(allowed).then((reached) => void (found.allowed += reached ? 1 : 0)),
    knock(forbidden).then((reached) => void (found.forbidden += reached ? 1 : 0)),
  )
  await sleep(5)
}
await Promise.all(knocks)
process.stdout.write(`${JSON.stringify(found)}\n`)
