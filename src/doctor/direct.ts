/** From a host to a connection with it: DNS, the address guard, TCP to every address. */
import type { Duplex } from 'node:stream'
import { classifyAddress } from '../policy/addresses.ts'
import { explanation } from '../policy/refusal.ts'
import { alternateFamilies } from '../proxy/dial.ts'
import { describeDns, describeGuard, describeTcp, otherResolvers } from './describe.ts'
import { judgeDns, judgeTcp } from './judge.ts'
import type { TcpTry } from './report.ts'
import type { Opened, Walk } from './walk.ts'

/** Addresses tried for one host; no honest one has more. */
const MAX_ADDRESSES = 8

export async function openDirectly(walk: Walk): Promise<Opened | undefined> {
  const { kit, target } = walk
  const [dns, dnsMs] = await walk.time('dns', () => kit.lookUp(target.host))
  const dnsFinding = judgeDns(dns)
  if (dnsFinding) return walk.fail({ name: 'dns', durationMs: dnsMs, dns }, dnsFinding)
  const mark = otherResolvers(dns).length > 0 || dns.ipv6 === 'unanswered' ? 'note' : 'ok'
  walk.add({ name: 'dns', mark, durationMs: dnsMs, text: describeDns(dns), dns })

  const [refused, guardMs] = await walk.time('guard', () => kit.guard(dns.addresses, target.port))
  if (refused) {
    return walk.fail(
      { name: 'guard', durationMs: guardMs },
      { code: 'address_prohibited', detail: `${explanation(refused)}, says ${dns.resolver}` },
    )
  }
  const guarded = describeGuard(dns.addresses, kit.addressesAllowed)
  walk.add({ name: 'guard', mark: 'ok', durationMs: guardMs, text: guarded })

  const [dialled, tcpMs] = await walk.time('tcp', () => dialAll(walk, dns.addresses))
  const first = dialled.find((one) => one.stream !== undefined)
  const tcp = { tries: dialled.map((one) => one.tried), ...(first && { address: first.tried.address }) }
  const tcpFinding = judgeTcp(tcp)
  if (!first?.stream) {
    return tcpFinding && walk.fail({ name: 'tcp', durationMs: tcpMs, tcp }, tcpFinding)
  }
  const partly = tcp.tries.some((one) => one.result !== 'connected')
  const step = { name: 'tcp', durationMs: first.tried.durationMs, text: describeTcp(tcp), tcp } as const
  walk.add({ ...step, mark: tcpFinding ? 'fail' : partly ? 'note' : 'ok' })
  if (tcpFinding) walk.course.finding = tcpFinding
  const isPublic = (address: string): boolean =>
    classifyAddress(address, kit.addressesAllowed).kind === 'public'
  return { stream: first.stream, publicExpected: target.documented || dns.addresses.some(isPublic) }
}

/** Every address at once: a firewall that knows only some of them shows. In the order in which clients would try. */
async function dialAll(
  walk: Walk,
  addresses: readonly string[],
): Promise<readonly { readonly tried: TcpTry; readonly stream?: Duplex }[]> {
  const { kit, target } = walk
  return Promise.all(
    alternateFamilies(addresses)
      .slice(0, MAX_ADDRESSES)
      .map(async (address) => {
        const start = kit.monotonicMs()
        const result = await kit.connect(address, target.port, walk.bound(kit.limits.connectMs))
        const durationMs = Math.round(kit.monotonicMs() - start)
        return result.kind === 'connected'
          ? { tried: { address, result: 'connected', durationMs } as const, stream: walk.keep(result.socket) }
          : { tried: { address, result: result.failure, code: result.code, durationMs } }
      }),
  )
}
