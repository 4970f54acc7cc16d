/**
 * An internet on loopback for the doctor: a DNS server, hosts that speak TLS with certificates of a public CA of its own,
 * everything that can stand in their place, and proxies. Names may resolve to public addresses: dials are led to
 * 127.0.0.1. It closes with the test.
 */
import { X509Certificate } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { createSecureContext, createServer as createTlsServer } from 'node:tls'
import { onTestFinished } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { examineAll, reportOn, type Ended } from '../../src/doctor/doctor.ts'
import { createLookUp } from '../../src/doctor/lookup.ts'
import type { HostReport } from '../../src/doctor/report.ts'
import { connectTcp, type Connect, type Connected } from '../../src/doctor/sockets.ts'
import { judge, type Verdict } from '../../src/doctor/verdict.ts'
import { parseVia } from '../../src/doctor/via.ts'
import type { Course, Kit, StepLimits, Target } from '../../src/doctor/walk.ts'
import { createGuard } from '../../src/proxy/guard.ts'
import { createAuthority, type Authority, type Certificate } from '../support/certificates.ts'
import { within } from '../support/deadline.ts'
import { addresses, NODATA } from '../support/dns-scripts.ts'
import { DnsServer } from '../support/dns-server.ts'
import { freePort } from '../support/free-port.ts'

/** A public address; nothing is ever sent to it. */
export const PUBLIC = '8.8.8.8'
export const HOST = 'cgr.dev'

export type Serve = (socket: Socket) => void

/** How a dial to an address ends where no host is: on loopback no real packet can be made to vanish or find no route. */
export type Fate = 'black-hole' | 'unreachable' | 'refused'

export interface VisitOptions {
  readonly target?: Partial<Target>
  readonly via?: string
  readonly kit?: Partial<Kit>
}

export interface Internet {
  readonly dns: DnsServer
  /** As good as a root of the Mozilla list. */
  readonly publicCa: Authority
  /** A CA that only this machine trusts. */
  readonly corporateCa: Authority
  /** By address; all others lead to 127.0.0.1. */
  readonly fates: Map<string, Fate>
  kit(more?: Partial<Kit>): Kit
  /** A server that does this with every connection; returns its port. */
  listen(serve: Serve): Promise<number>
  /** The same behind TLS; a text is its HTTP answer. */
  tlsHost(certificate: Certificate, answer?: string | Serve): Promise<number>
  /** Looks at one host on a port, to the end. */
  visit(port: number, options?: VisitOptions): Promise<HostReport & { readonly verdict: Verdict }>
}

export const REGISTRY_ANSWER =
  'HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}'

/** Long, so that a busy machine is not taken for a silent host; tests of silence set their own. */
const LIMITS: StepLimits = { connectMs: 20_000, tlsMs: 20_000, httpMs: 20_000, proxyReplyMs: 20_000 }

export async function openInternet(): Promise<Internet> {
  const dns = await DnsServer.start()
  const servers: Server[] = []
  const sockets = new Set<Socket>()
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    const closed = servers.map(
      (server) =>
        new Promise((resolve) => {
          server.close(resolve)
        }),
    )
    await Promise.all([...closed, dns.close()])
  })
  dns.on(HOST, 'A', addresses(60, PUBLIC)).on(HOST, 'AAAA', NODATA)
  const publicCa = createAuthority({ commonName: 'Public Root', organization: 'Trust Services' })
  const corporateCa = createAuthority({ commonName: 'Inspection CA', organization: 'Example Corp' })
  const fates = new Map<string, Fate>()
  const refusing = await freePort()

  const connect: Connect = (host, port, bound) => {
    switch (fates.get(host)) {
      case 'black-hole':
        return silence(bound)
      case 'unreachable':
        return Promise.resolve({ kind: 'failed', failure: 'unreachable', code: 'ENETUNREACH' })
      case 'refused':
        return connectTcp('127.0.0.1', refusing, bound)
      case undefined:
        return connectTcp('127.0.0.1', port, bound)
    }
  }

  const start = async (server: Server): Promise<number> => {
    servers.push(server)
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    const bound = server.address()
    return typeof bound === 'object' && bound !== null ? bound.port : 0
  }

  const internet: Internet = {
    dns,
    publicCa,
    corporateCa,
    fates,
    kit: (more = {}) => ({
      lookUp: createLookUp({ servers: [dns.address], timeoutMs: 20_000, tries: 1, hosts: {} }),
      guard: createGuard({
        allow: [],
        clock: systemClock,
        listeners: () => [],
        ownAddresses: () => new Set(),
      }),
      addressesAllowed: [],
      connect,
      trust: {
        context: createSecureContext({ ca: [publicCa.cert] }),
        publicRoots: () => [new X509Certificate(publicCa.cert)],
        localRoots: () => [new X509Certificate(corporateCa.cert)],
      },
      limits: LIMITS,
      userAgent: 'sallyport-doctor/test',
      monotonicMs: () => performance.now(),
      wallMs: () => Date.now(),
      ...more,
    }),
    listen: (serve) => start(createServer(serve)),
    tlsHost: (certificate, answer = REGISTRY_ANSWER) =>
      start(
        createTlsServer({ ...certificate, ALPNProtocols: ['http/1.1'] }, (socket) => {
          socket.on('error', () => undefined)
          if (typeof answer !== 'string') answer(socket)
          else socket.once('data', () => socket.end(Buffer.from(answer, 'latin1')))
        }),
      ),
    async visit(port, { target = {}, via, kit = {} } = {}) {
      const course: Course = {
        target: { host: HOST, port, documented: true, ...target },
        steps: [],
        finished: false,
      }
      const parsed = via === undefined ? undefined : parseVia(via)
      if (parsed && !parsed.ok) throw new Error(parsed.problem)
      const ended = await examineCourses([course], internet.kit(kit), parsed && { via: parsed.via })
      const report = reportOn(course)
      return { ...report, verdict: judge([report], parsed?.via.shown ?? null, ended) }
    },
  }
  return internet
}

export function examineCourses(
  courses: readonly Course[],
  kit: Kit,
  more: Partial<Parameters<typeof examineAll>[2]> = {},
): Promise<Ended | undefined> {
  const run = examineAll(courses, kit, {
    timeoutMs: 60_000,
    interrupt: new AbortController().signal,
    ...more,
  })
  return within(run, 'the doctor')
}

/** What a firewall that drops does: nothing, until whoever waits has had enough. */
function silence({ timeoutMs, signal }: Parameters<Connect>[2]): Promise<Connected> {
  return new Promise((resolve) => {
    const give = (): void => resolve({ kind: 'failed', failure: 'timeout', code: 'ETIMEDOUT' })
    setTimeout(give, timeoutMs).unref()
    signal.addEventListener('abort', give)
  })
}
