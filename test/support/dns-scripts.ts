/** What a DNS server can say to a question, from the honest answer to the forged one. */
import {
  encode,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
  type Answer,
  type Packet,
} from 'dns-packet'
import type { DnsQuery } from './dns-server.ts'

export interface Reaction {
  /** Messages to send, in order; none is silence. */
  readonly replies: readonly Buffer[]
  /** Over TCP: one byte, then this long nothing, and so on. */
  readonly byteEveryMs?: number
}

export type Script = (query: DnsQuery) => Reaction | Promise<Reaction>

const RCODE_SERVFAIL = 2
const RCODE_NXDOMAIN = 3

/** Addresses of either family under the name that was asked, each with this TTL; none is NODATA. */
export function addresses(ttl: number, ...list: readonly string[]): Script {
  return (query) => reply(query, { answers: list.map((address) => record(query.name, ttl, address)) })
}

/** A CNAME chain, each link with a TTL of its own, and addresses at its end. */
export function chain(
  links: readonly { readonly to: string; readonly ttl: number }[],
  ttl: number,
  ...list: readonly string[]
): Script {
  return (query) => {
    let name = query.name
    const answers: Answer[] = []
    for (const { to, ttl } of links) {
      answers.push({ type: 'CNAME', name, ttl, data: to })
      name = to
    }
    return reply(query, { answers: [...answers, ...list.map((address) => record(name, ttl, address))] })
  }
}

/** A PTR record. */
export function pointsTo(name: string): Script {
  return (query) => reply(query, { answers: [{ type: 'PTR', name: query.name, ttl: 60, data: name }] })
}

export const NODATA: Script = (query) => reply(query, {})
export const NXDOMAIN: Script = (query) => reply(query, { flags: RCODE_NXDOMAIN })
export const SERVFAIL: Script = (query) => reply(query, { flags: RCODE_SERVFAIL })
export const SILENCE: Script = () => ({ replies: [] })

/** Says that the answer does not fit into UDP, and gives it over TCP. */
export function truncated(overTcp: Script): Script {
  return (query) => (query.transport === 'tcp' ? overTcp(query) : reply(query, { flags: TRUNCATED_RESPONSE }))
}

/** The same answer over TCP, a byte at a time. */
export function trickled(script: Script, byteEveryMs = 1000): Script {
  return async (query) => ({ ...(await script(query)), byteEveryMs })
}

/** The same answer once the promise settles. */
export function after(moment: Promise<unknown>, script: Script): Script {
  return async (query) => {
    await moment
    return script(query)
  }
}

/** One script after the other, a question each; the last one stays. */
export function inTurn(...scripts: readonly Script[]): Script {
  let turn = 0
  return (query) => {
    const script = scripts[Math.min(turn, scripts.length - 1)] ?? SILENCE
    turn += 1
    return script(query)
  }
}

/** Bytes as they are; `make` sees the question's. */
export function raw(make: (query: DnsQuery) => Buffer): Script {
  return (query) => ({ replies: [make(query)] })
}

/** An answer under an id that nobody asked with. */
export function underWrongId(script: Script): Script {
  return async (query) => ({
    replies: (await script(query)).replies.map((message) => {
      const forged = Buffer.from(message)
      forged.writeUInt16BE(forged.readUInt16BE(0) ^ 0xffff)
      return forged
    }),
  })
}

/** An answer under the right id to a question that nobody asked. */
export function toAnotherQuestion(name: string, script: Script): Script {
  return (query) =>
    script({
      ...query,
      name,
      packet: { ...query.packet, questions: [{ type: 'A', class: 'IN', name }] },
    })
}

/** A reply whose answer's name is a compression pointer to itself (RFC 1035 section 4.1.4). */
export const POINTER_LOOP: Script = raw((query) => {
  const head = encode(message(query, {}))
  head.writeUInt16BE(1, 6)
  const here = head.length
  const record = Buffer.from([0xc0 | (here >> 8), here & 0xff, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 8, 8, 8, 8])
  return Buffer.concat([head, record])
})

/** Two compression pointers that point at each other. */
export const POINTER_RING: Script = raw((query) => {
  const head = encode(message(query, {}))
  head.writeUInt16BE(1, 6)
  const here = head.length
  const record = Buffer.from([0xc0, here + 2, 0xc0, here, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 8, 8, 8, 8])
  return Buffer.concat([head, record])
})

/** A reply of 64 KiB: the addresses, and text records that fill it up to the last byte it can have. */
export function filledTo64KiB(ttl: number, ...list: readonly string[]): Script {
  return (query) => {
    const answers = list.map((address) => record(query.name, ttl, address))
    const text = (length: number): Answer => ({
      type: 'TXT',
      name: 'x',
      ttl,
      data: Array.from({ length: Math.floor(length / 256) }, () => Buffer.alloc(255, 'x')),
    })
    const used = encode(message(query, { answers })).length
    const additionals: Answer[] = []
    for (
      let left = 65_535 - used;
      left > 512;
      left = 65_535 - encode(message(query, { answers, additionals })).length
    )
      additionals.push(text(Math.min(left - 64, 16_384)))
    return { replies: [encode(message(query, { answers, additionals }))] }
  }
}

function record(name: string, ttl: number, address: string): Answer {
  return { type: address.includes(':') ? 'AAAA' : 'A', name, ttl, data: address }
}

function reply(query: DnsQuery, more: Packet): Reaction {
  return { replies: [encode(message(query, more))] }
}

function message(query: DnsQuery, { flags = 0, ...sections }: Packet): Packet {
  return {
    type: 'response',
    id: query.packet.id ?? 0,
    flags: flags | RECURSION_DESIRED | RECURSION_AVAILABLE,
    questions: query.packet.questions ?? [],
    ...sections,
  }
}
