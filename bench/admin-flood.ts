/**
 * What a flood of requests to the admin listener does to the proxy port, which shares its thread. `node bench/admin-flood.ts`.
 *
 * Two gates run. The first is measured, with tunnels set up one after the other and single bytes back and forth. The
 * flood goes to nobody, then to the second gate (which costs the machine the same), then to the first.
 */
import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request, Agent } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('../bin/sallyport.js', import.meta.url))
const SECONDS = Number(process.env['FLOOD_SECONDS'] ?? 4)
const ROUNDS = Number(process.env['FLOOD_ROUNDS'] ?? 3)
const HOST = 'origin.example.com'

/** How the flood asks: over connections that stay, over one for each request, or for streams of events. */
const FLOODS = ['none', 'kept connections', 'new connections', 'event streams'] as const
type Flood = (typeof FLOODS)[number]
const AT_ONCE = 100

if (process.argv[2] === 'flood')
  flood(
    Number(process.argv[3]),
    FLOODS.find((kind) => kind === process.argv[4]),
  )
else await main()

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-flood-'))
  const origin = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(
    0,
    '127.0.0.1',
  )
  await once(origin, 'listening')
  const originPort = portOf(origin.address())
  const gates = [await startGate(folder, 'a', originPort), await startGate(folder, 'b', originPort)] as const
  // Whoever reads our output may go away; the gates go with us.
  process.once('exit', () => gates.forEach(({ child }) => child.kill('SIGKILL')))
  const [cpu] = cpus()
  process.stdout.write(
    `${availableParallelism()} cores, ${cpu?.model ?? ''}, node ${process.version}; ` +
      `medians of ${ROUNDS} rounds of ${SECONDS} s; ${AT_ONCE} requests at once\n\n` +
      '| flood | to | answers/s | set-up p50 µs | set-up p99 µs | round trip p50 µs | round trip p99 µs |\n' +
      '| --- | --- | ---: | ---: | ---: | ---: | ---: |\n',
  )
  for (const kind of FLOODS) {
    const targets = kind === 'none' ? (['nobody'] as const) : (['the other gate', 'this gate'] as const)
    for (const to of targets) {
      const rounds: number[][] = []
      for (let round = 0; round < ROUNDS; round += 1) {
        rounds.push(await measure(gates[0].port, originPort, kind, gates[to === 'this gate' ? 0 : 1].admin))
      }
      const medians = (rounds[0] ?? []).map((_, column) =>
        quantile(
          rounds.map((row) => row[column] ?? 0),
          0.5,
        ),
      )
      process.stdout.write(`| ${kind} | ${to} | ${medians.map((value) => value.toFixed(0)).join(' | ')} |\n`)
    }
  }
  for (const { child } of gates) child.kill('SIGKILL')
  origin.close()
  rmSync(folder, { recursive: true, force: true })
}

async function measure(port: number, originPort: number, kind: Flood, admin: number): Promise<number[]> {
  const flooding =
    kind === 'none' ? undefined : fork(fileURLToPath(import.meta.url), ['flood', String(admin), kind])
  if (flooding) await once(flooding, 'message')
  const setUps: number[] = []
  const trips: number[] = []
  for (const end = performance.now() + (SECONDS * 1000) / 2; performance.now() < end;) {
    const startedMs = performance.now()
    const socket = await openTunnel(port, originPort)
    setUps.push(performance.now() - startedMs)
    socket.destroy()
  }
  const socket = await openTunnel(port, originPort)
  for (const end = performance.now() + (SECONDS * 1000) / 2; performance.now() < end;) {
    const startedMs = performance.now()
    socket.write('x')
    await once(socket, 'data')
    trips.push(performance.now() - startedMs)
  }
  socket.destroy()
  const answers = flooding ? await stopFlood(flooding) : 0
  const micros = (times: readonly number[], part: number): number => quantile(times, part) * 1000
  return [answers, micros(setUps, 0.5), micros(setUps, 0.99), micros(trips, 0.5), micros(trips, 0.99)]
}

async function openTunnel(port: number, originPort: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.write(`CONNECT ${HOST}:${originPort} HTTP/1.1\r\nHost: ${HOST}:${originPort}\r\n\r\n`)
  const head = String(await once(socket, 'data'))
  if (!head.startsWith('HTTP/1.1 200')) throw new Error(head)
  return socket
}

async function stopFlood(child: ChildProcess): Promise<number> {
  child.send('stop')
  const [answers]: readonly unknown[] = await once(child, 'message')
  await once(child, 'exit')
  return Number(answers) / SECONDS
}

/** In a process of its own: keeps so many requests under way, and counts the answers. */
function flood(port: number, kind: Flood | undefined): void {
  const agent = kind === 'kept connections' ? new Agent({ keepAlive: true, maxSockets: AT_ONCE }) : false
  const path = kind === 'event streams' ? '/api/events' : '/metrics'
  let answers = 0
  const ask = (): void => {
    const asked = request({ host: '127.0.0.1', port, path, agent }, (response) => {
      answers += 1
      response.resume().once('close', ask)
    })
    asked.once('error', () => setImmediate(ask)).end()
  }
  for (let i = 0; i < AT_ONCE; i += 1) ask()
  process.on('message', () => process.send?.(answers, () => process.exit()))
  // Until it runs at full tilt.
  setTimeout(() => process.send?.('flooding'), 1000)
}

interface Started {
  readonly sallyport: { readonly listen: readonly string[]; readonly admin: string }
}

async function startGate(folder: string, name: string, originPort: number) {
  const file = join(folder, `${name}.yaml`)
  const config = {
    listen: '127.0.0.1:0',
    admin: { listen: '127.0.0.1:0' },
    policy: { presets: [], allow: [{ host: HOST, port: originPort }], sni: 'off' },
    dns: { hosts: { [HOST]: ['127.0.0.1'] } },
    addresses: { allow: ['127.0.0.0/8'] },
  }
  writeFileSync(file, JSON.stringify(config))
  const child = spawn(process.execPath, [PROGRAM, 'serve', '--config', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const line = String(await once(child.stdout, 'data'))
  child.stdout.resume()
  const { sallyport }: Started = JSON.parse(line)
  const portIn = (text: string | undefined): number => Number(text?.split(':').at(-1))
  return { child, port: portIn(sallyport.listen[0]), admin: portIn(sallyport.admin) }
}

function portOf(address: ReturnType<ReturnType<typeof createServer>['address']>): number {
  return typeof address === 'object' && address !== null ? address.port : 0
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}
