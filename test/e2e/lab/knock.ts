/**
 * Connects again and again to port 443 of one address that is let in and of one that is not, for a while, and prints what
 * must not be: how often the first was not there at once, and how often the second was there at all.
 *
 *     node knock.ts ALLOWED FORBIDDEN MILLISECONDS
 */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const [allowed = '', forbidden = '', lasting = '0'] = process.argv.slice(2)
/** A first packet that was dropped is sent again after a second. */
const AT_ONCE_MS = 800

const knock = (host: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host, port: 443 })
    const answer = (reached: boolean): void => {
      socket.destroy()
      resolve(reached)
    }
    socket.setTimeout(AT_ONCE_MS, () => answer(false))
    socket.once('connect', () => answer(true))
    socket.once('error', () => answer(false))
  })

const found = { knocks: 0, late: 0, reached: 0 }
const knocks: Promise<void>[] = []
const end = performance.now() + Number(lasting)
while (performance.now() < end) {
  found.knocks += 1
  knocks.push(
    knock(allowed).then((reached) => void (found.late += reached ? 0 : 1)),
    knock(forbidden).then((reached) => void (found.reached += reached ? 1 : 0)),
  )
  await sleep(5)
}
await Promise.all(knocks)
process.stdout.write(`${JSON.stringify(found)}\n`)
