/** Many hosts: some at a time, bounded, and what is known when a run ends early. */
import { expect, test } from 'vitest'
import { CONCURRENCY, reportOn } from '../../src/doctor/doctor.ts'
import { progressLines } from '../../src/cli/doctor-progress.ts'
import { judge } from '../../src/doctor/verdict.ts'
import type { Course } from '../../src/doctor/walk.ts'
import { within, until } from '../support/deadline.ts'
import { addresses } from '../support/dns-scripts.ts'
import { examineCourses, HOST, openInternet, PUBLIC } from './fake-internet.ts'

const course = (host: string, port: number): Course => ({
  target: { host, port, documented: true },
  steps: [],
  finished: false,
})

test('hosts are looked at side by side, and no more than a few at once', async () => {
  const internet = await openInternet()
  const courses = Array.from({ length: CONCURRENCY + 5 }, (_, index) => course(`h${index}.example`, 443))
  let open = 0
  let most = 0
  let release: () => void = () => undefined
  const full = new Promise<void>((resolve) => {
    release = resolve
  })
  const kit = internet.kit({
    async lookUp() {
      open += 1
      most = Math.max(most, open)
      if (open === CONCURRENCY) release()
      // Were they not side by side, this would never settle.
      await within(full, `${CONCURRENCY} lookups at once`)
      open -= 1
      return {
        resolver: 'r',
        asked: [{ server: 'r', kind: 'nxdomain' }],
        addresses: [],
        cnames: [],
        ipv6: 'no',
      }
    },
  })
  expect(await examineCourses(courses, kit)).toBeUndefined()
  expect(most).toBe(CONCURRENCY)
  expect(courses.every((one) => one.finding?.code === 'dns_nxdomain')).toBe(true)
})

test('Ctrl-C: what is known is told, and what was under way is no finding', async () => {
  const internet = await openInternet()
  internet.dns.on('slow.example', 'A', addresses(60, '8.8.4.4'))
  internet.fates.set('8.8.4.4', 'black-hole')
  const port = await internet.tlsHost(internet.publicCa.issue({ commonName: HOST, dnsNames: [HOST] }))
  const courses = [course(HOST, port), course('slow.example', port)]
  const interrupt = new AbortController()
  const run = examineCourses(courses, internet.kit(), { interrupt: interrupt.signal })
  await until(() => courses[0]?.finished === true && courses[1]?.current === 'tcp', 'one host to be done')
  interrupt.abort()
  expect(await run).toBe('interrupted')
  const hosts = courses.map(reportOn)
  expect(hosts).toMatchObject([
    { status: 'well', finding: null },
    { status: 'unfinished', finding: null, steps: [{ name: 'dns' }, { name: 'guard' }] },
  ])
  expect(judge(hosts, null, 'interrupted')).toMatchObject({
    status: 'unfinished',
    summary: '1 of 2 hosts is reachable, 0 are not; 1 not known, since the run was interrupted.',
  })
})

test('time is up: the same, and a resolver that never answers cannot hold it up', async () => {
  const internet = await openInternet()
  const courses = [course(HOST, 443)]
  const kit = internet.kit({ lookUp: () => new Promise(() => undefined) })
  expect(await examineCourses(courses, kit, { timeoutMs: 50 })).toBe('time')
  expect(courses.map(reportOn)).toMatchObject([{ status: 'unfinished', steps: [] }])
})

test('progress: a line for each host where there is room, else one', () => {
  const done: Course = { ...course(HOST, 443), finished: true }
  const failed: Course = { ...done, finding: { code: 'dns_nxdomain', detail: PUBLIC } }
  const under: Course = { ...course('enforce.dev', 443), current: 'tls' }
  const all = [done, failed, under, course('a.dev', 443)]
  expect(progressLines(all, '1.0', 60_000, 24)).toEqual([
    '2 of 4 hosts done, 1.0 s of at most 60 s; Ctrl-C shows what is known',
    '  well     cgr.dev:443',
    '  FAIL     cgr.dev:443  dns_nxdomain',
    '  tls      enforce.dev:443',
    '  waiting  a.dev:443',
  ])
  expect(progressLines(all, '1.0', 60_000, 6)).toHaveLength(1)
})
