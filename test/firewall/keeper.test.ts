/** The keeper over an nft that only writes down what it is given; test/e2e/firewall drives the real one. */
import { describe, expect, test } from 'vitest'
import { createAdmission } from '../../src/firewall/admission.ts'
import { Keeper } from '../../src/firewall/keeper.ts'
import { NftError } from '../../src/firewall/nft.ts'
import { removeTable } from '../../src/firewall/own-table.ts'
import { stampOf, type Element, type Ruleset } from '../../src/firewall/ruleset.ts'
import { ManualClock, settle } from '../support/manual-clock.ts'

const RULESET: Ruleset = {
  table: 'sallyport',
  users: [],
  interfaces: [],
  ingress: 'any',
  graceMs: 60_000,
  log: false,
  servers: [],
  policy: 'sha256:abc',
}
const A: Element = { address: '192.0.2.1', port: 443, timeoutMs: 5000 }
const B: Element = { address: '192.0.2.2', port: 443, timeoutMs: 5000 }

const LINGER_MS = 500

/** Takes scripts as the kernel does: elements need their table. */
class Paper {
  readonly scripts: string[] = []
  stamp: string | undefined
  refusing = false

  readonly run = async (args: readonly string[], input = ''): Promise<string> => {
    await settle()
    if (args.includes('tables')) return this.stamp === undefined ? '' : 'table inet sallyport\n'
    if (args.includes('list')) {
      return `chain ${this.stamp} {`
    }
    if (this.refusing) throw new NftError('no permission')
    const stamp = /chain (policy_\w+) /.exec(input)?.[1]
    if (stamp === undefined && !input.includes('delete table') && this.stamp === undefined)
      throw new NftError('no such table')
    this.stamp = stamp ?? (input.includes('delete table') ? undefined : this.stamp)
    this.scripts.push(input)
    return ''
  }

  /** Addresses of the last script, with their lifetimes. */
  get last(): string[] {
    const [, entries = ''] = /add element \S+ \S+ \S+ \{([^}]+)\}/.exec(this.scripts.at(-1) ?? '') ?? []
    return entries
      .split(',')
      .map((entry) => entry.trim())
      .filter(Boolean)
  }
}

function open(): { paper: Paper; clock: ManualClock; keeper: Keeper } {
  const [paper, clock] = [new Paper(), new ManualClock()]
  return { paper, clock, keeper: new Keeper({ nft: paper.run, clock, ruleset: RULESET }) }
}

describe('the table', () => {
  test('takes the place of one with another stamp, and is loaded over one with the same', async () => {
    const { paper, keeper } = open()
    await keeper.install([A])
    expect(paper.scripts[0]).toContain('delete table inet sallyport')
    await keeper.install([A])
    expect(paper.scripts[1]).not.toContain('delete table')
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 5s'])
  })

  test('changes with the resolvers and keeps what is let in; refused, all is as it was', async () => {
    const { paper, clock, keeper } = open()
    await keeper.install([A])
    await clock.advance(1000)
    const next = { ...RULESET, servers: ['10.0.0.53'] }
    await keeper.change(next, LINGER_MS)
    expect(paper.stamp).toBe(stampOf(next))
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 4s'])
    // The same in passing, as the system's resolvers change.
    expect(await keeper.mend(RULESET)).toBe(true)
    expect(paper.stamp).toBe(stampOf(RULESET))
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 4s'])
    expect(await keeper.mend(RULESET)).toBe(false)
    paper.refusing = true
    await expect(keeper.change(next, LINGER_MS)).rejects.toThrow('no permission')
    await expect(keeper.mend(next)).rejects.toThrow('no permission')
    expect(keeper.ruleset).toBe(RULESET)
  })

  test('of another policy keeps an address for a dial under way and no longer, unless it is let in anew', async () => {
    const { paper, clock, keeper } = open()
    await keeper.install([A, B])
    await keeper.change({ ...RULESET, policy: 'sha256:def' }, LINGER_MS, [B])
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 500ms', '192.0.2.2 . 443 timeout 5s'])
    await clock.advance(LINGER_MS)
    await keeper.admit([A])
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 5s'])
  })

  test('goes back to the policy of before with every address of before', async () => {
    const { paper, clock, keeper } = open()
    await keeper.install([A])
    const back = await keeper.change({ ...RULESET, policy: 'sha256:def' }, LINGER_MS)
    await keeper.admit([B])
    await clock.advance(1000)
    await back()
    expect(paper.stamp).toBe(stampOf(RULESET))
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 4s', '192.0.2.2 . 443 timeout 4s'])
  })

  test('of the same name that is not ours is left alone', async () => {
    const { paper, keeper } = open()
    paper.stamp = 'input'
    for (const work of [
      () => keeper.install([A]),
      () => keeper.mend(),
      () => keeper.change(RULESET, LINGER_MS),
      () => removeTable(paper.run, RULESET.table, 'policy'),
      () => removeTable(paper.run, RULESET.table, 'redirect'),
    ])
      await expect(work()).rejects.toThrow(/inet sallyport was not made by this command/)
    expect(paper.scripts).toEqual([])
  })

  test('is taken away, and none where there is none', async () => {
    const { paper, keeper } = open()
    await keeper.install([A])
    await removeTable(paper.run, RULESET.table, 'policy')
    expect(paper.stamp).toBeUndefined()
    await removeTable(paper.run, RULESET.table, 'policy')
    expect(paper.scripts).toHaveLength(2)
  })

  test('comes back with what is still let in when somebody has taken it away', async () => {
    const { paper, clock, keeper } = open()
    await keeper.install([A, { ...B, timeoutMs: 1000 }])
    expect(await keeper.mend()).toBe(false)
    paper.stamp = undefined
    await clock.advance(2000)
    expect(await keeper.mend()).toBe(true)
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 3s'])
  })
})

describe('an address', () => {
  test('that is there long enough costs no transaction, and no lifetime is shortened', async () => {
    const { paper, keeper } = open()
    await keeper.install([A])
    await keeper.admit([A])
    await keeper.admit([{ ...A, timeoutMs: 100 }])
    expect(paper.scripts).toHaveLength(1)
    await keeper.admit([{ ...A, timeoutMs: 9000 }])
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 9s'])
  })

  test('waits with the others for the transaction that runs, and goes with them in the next', async () => {
    const { paper, keeper } = open()
    await keeper.install()
    await Promise.all([keeper.admit([A]), keeper.admit([B]), keeper.admit([{ ...B, timeoutMs: 7000 }, A])])
    expect(paper.scripts).toHaveLength(2)
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 5s', '192.0.2.2 . 443 timeout 7s'])
  })

  test('that finds no table puts it back first, with all that is let in', async () => {
    const { paper, keeper } = open()
    await keeper.install([A])
    paper.stamp = undefined
    await keeper.admit([B])
    expect(paper.stamp).toBe(stampOf(RULESET))
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 5s', '192.0.2.2 . 443 timeout 5s'])
  })

  test('that nft refuses is refused, and the next one is tried again', async () => {
    const { paper, keeper } = open()
    await keeper.install()
    paper.refusing = true
    await expect(keeper.admit([A])).rejects.toThrow('no permission')
    paper.refusing = false
    await keeper.admit([A])
    expect(paper.last).toEqual(['192.0.2.1 . 443 timeout 5s'])
  })
})

describe('the step before the dial', () => {
  const GRACE = 60_000

  function step(ok = true) {
    const clock = new ManualClock()
    const asked: (readonly Element[])[] = []
    const letIn = createAdmission({
      admit: async (elements) => {
        asked.push(elements)
        return ok
      },
      clock,
      graceMs: GRACE,
      maxLifeMs: 3_600_000,
      dialTimeoutMs: 10_000,
    })
    return { clock, asked, letIn }
  }

  test('asks for TTL and grace once, and answers at once for as long as a dial may take', async () => {
    const { clock, asked, letIn } = step()
    expect(await letIn(['192.0.2.1'], 443, 5000)).toBe(true)
    expect(asked).toEqual([[{ address: '192.0.2.1', port: 443, timeoutMs: 65_000 }]])
    await clock.advance(54_000)
    expect(letIn(['192.0.2.1'], 443, 0)).toBe(true)
    await clock.advance(2000)
    await letIn(['192.0.2.1'], 443, 5000)
    expect(asked).toHaveLength(2)
  })

  test('asks for what is missing only, and for another port anew', async () => {
    const { asked, letIn } = step()
    await letIn(['192.0.2.1'], 443, 5000)
    await letIn(['192.0.2.1', '192.0.2.2'], 443, 5000)
    await letIn(['192.0.2.1'], 8443, 5000)
    expect(
      asked.slice(1).map((elements) => elements.map(({ address, port }) => `${address} ${port}`)),
    ).toEqual([['192.0.2.2 443'], ['192.0.2.1 8443']])
  })

  test('cuts long lifetimes, and remembers no refusal', async () => {
    const { asked, letIn } = step(false)
    expect(await letIn(['192.0.2.1'], 443, 1e9)).toBe(false)
    expect(await letIn(['192.0.2.1'], 443, 1e9)).toBe(false)
    expect(asked.map(([element]) => element?.timeoutMs)).toEqual([3_660_000, 3_660_000])
  })
})
