/** What the supervisor reads off a worker's lines, and what a worker hears of them. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Scribe } from '../../src/audit/scribe.ts'
import type { Attempt } from '../../src/audit/attempt.ts'
import type { AuditSink } from '../../src/audit/sinks.ts'
import { systemClock } from '../../src/clock.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { RemoteLedger } from '../../src/workers/remote-ledger.ts'
import { LineSplitter } from '../../src/workers/split-lines.ts'
import { Tally } from '../../src/workers/tally.ts'

describe('LineSplitter', () => {
  test('cuts the same lines from any chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' })), fc.nat(), (texts, seed) => {
        const lines = texts.map((text) => `${text.replaceAll('\n', ' ')}\n`)
        const bytes = Buffer.from(lines.join(''))
        const splitter = new LineSplitter()
        const got: string[] = []
        for (let at = 0, step = seed; at < bytes.length; step += 1) {
          const end = at + 1 + (step % 7)
          got.push(...splitter.push(bytes.subarray(at, end)))
          at = end
        }
        expect(got).toEqual(lines)
        expect(splitter.partial).toBe(false)
      }),
    )
  })

  test('knows of half a line', () => {
    const splitter = new LineSplitter()
    expect(splitter.push(Buffer.from('one\ntw'))).toEqual(['one\n'])
    expect(splitter.partial).toBe(true)
  })
})

function attempt(id: string, userAgent: string): Attempt {
  return {
    id,
    client: { address: '127.0.0.1', port: 4711 },
    startedMs: 0,
    policyHash: 'sha256:0',
    mode: 'enforce',
    method: 'CONNECT',
    version: '1.1',
    userAgent,
    target: { kind: 'name', host: 'cgr.dev', port: 443 },
  }
}

describe('Tally', () => {
  test('knows what is open, whatever clients write into their headers', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.boolean())), (clients) => {
        const tally = new Tally()
        const scribe = new Scribe(
          {
            clock: systemClock,
            record: 'all',
            version: '1',
            nodeName: '","action":"tunnel-closed","id":"0"',
          },
          (line) => tally.note(line),
        )
        const open: string[] = []
        clients.forEach(([text, closes], index) => {
          const id = `id-${index}`
          const one = attempt(id, `${text}","action":"tunnel-opened","id":"forged"`)
          scribe.record({ kind: 'opened', attempt: one })
          scribe.record({ kind: 'refused', attempt: one, refusal: refusal('host_not_allowed') })
          if (closes) {
            scribe.record({
              kind: 'closed',
              attempt: one,
              code: 'completed',
              bytesUp: 1,
              bytesDown: 2,
              durationMs: 3,
            })
          } else open.push(id)
        })
        expect(tally.totals).toEqual(scribe.totals)
        const ids = tally.takeOpen().map((line) => {
          const record: { event: { id: string } } = JSON.parse(line)
          return record.event.id
        })
        expect(ids).toEqual(open)
        expect(tally.takeOpen()).toEqual([])
      }),
    )
  })
})

describe('RemoteLedger', () => {
  const pipe: AuditSink = {
    name: 'pipe',
    healthy: true,
    lost: 0,
    write: () => undefined,
    written: () => Promise.resolve(true),
    flush: () => Promise.resolve(true),
  }

  test('has a tunnel wait for word of its own line and no other', async () => {
    const ledger = new RemoteLedger({ pipe, onError: 'deny' })
    expect(ledger.written()).toBe(true)
    ledger.append('one\n')
    const first = ledger.written()
    ledger.append('two\n')
    const second = ledger.written()
    ledger.acknowledge(1, true, true)
    expect(await first).toBe(true)
    ledger.acknowledge(2, false, false)
    expect(await second).toBe(false)
    expect(ledger.accepting).toBe(false)
    // The sinks work again: said without a new line.
    ledger.acknowledge(0, true, true)
    expect(ledger.accepting).toBe(true)
  })

  test('lets nobody wait for a supervisor that is gone', async () => {
    const ledger = new RemoteLedger({ pipe, onError: 'deny' })
    ledger.append('one\n')
    const waiting = ledger.written()
    ledger.sever()
    expect(await waiting).toBe(false)
    expect(ledger.accepting).toBe(false)
  })

  test('waits for nothing where tunnels open unrecorded', () => {
    const ledger = new RemoteLedger({ pipe, onError: 'continue' })
    ledger.append('one\n')
    expect(ledger.written()).toBe(true)
    ledger.sever()
    expect(ledger.accepting).toBe(true)
  })
})
