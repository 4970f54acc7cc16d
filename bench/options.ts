/** The command line of the benchmark. */
import { parseArgs } from 'node:util'

export interface Options {
  /** Names of proxies; empty: all. */
  readonly only: readonly string[]
  /** How long each load runs. */
  readonly seconds: number
  readonly rounds: number
  /** Numbers of idle tunnels, ascending. */
  readonly idle: readonly number[]
  /** Where the results are written, too. */
  readonly json: string | undefined
}

export const HELP = `Usage: npm run bench -- [options]

Measures Sallyport on both wires beside a plain node:net proxy, a relay in C as the limit, and whatever of squid,
tinyproxy, haproxy and proxy-chain this machine has. See docs/performance.md.

  --only NAME,...      only these: limit, kernel, portable, pipe, squid, tinyproxy, haproxy, proxy-chain
  --seconds N          how long each load runs (2)
  --rounds N           how often everything is measured; the table has the medians (3)
  --idle N,...         numbers of idle tunnels (100,1000,10000); 0: none
  --json FILE          write machine, medians and every single value to FILE
  --help               this text
`

/** What the arguments ask for; a text when they are not understood. */
export function parseOptions(argv: readonly string[]): Options | 'help' | { readonly mistake: string } {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        only: { type: 'string', default: '' },
        seconds: { type: 'string', default: '2' },
        rounds: { type: 'string', default: '3' },
        idle: { type: 'string', default: '100,1000,10000' },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return 'help'
    const idle = list(values.idle).map((text) => count(text, '--idle'))
    return {
      only: list(values.only),
      seconds: positive(Number(values.seconds), '--seconds'),
      rounds: positive(count(values.rounds, '--rounds'), '--rounds'),
      idle: [...new Set(idle)].filter((tunnels) => tunnels > 0).toSorted((a, b) => a - b),
      json: values.json,
    }
  } catch (error) {
    return { mistake: error instanceof Error ? error.message : String(error) }
  }
}

function list(text: string): readonly string[] {
  return text.split(',').filter((entry) => entry !== '')
}

function count(text: string, option: string): number {
  if (!/^[0-9]{1,6}$/.test(text)) throw new Error(`${option}: expected a whole number, found ${text}`)
  return Number(text)
}

function positive(value: number, option: string): number {
  if (!(value > 0)) throw new Error(`${option}: expected more than zero`)
  return value
}
