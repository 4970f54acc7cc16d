import { readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { node, root } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { accepts, freePort } from './lab/ports.ts'
import { mustRun, run } from './lab/programs.ts'
import { Scope } from './lab/scope.ts'
import { startService } from './lab/service.ts'
import { eventually } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['git', 'npm', 'unshare', 'curl', 'systemd-socket-activate'],
})

/** Own folders where the steps write, and the supported Node where the unit expects it; all gone with the process. */
const ASIDE = `
mount -t tmpfs none /opt
mkdir /opt/upper /opt/work
mount -t overlay -o lowerdir=/etc,upperdir=/opt/upper,workdir=/opt/work overlay /etc
mount --bind "$NODE" /usr/bin/node
systemctl() { echo "systemctl $*"; }
`

describe.skipIf(lab.missing)(`docs/deploying.md as written${lab.because}`, () => {
  const scope = new Scope()
  afterAll(() => scope.close())

  test('one machine: the steps install it, and the unit’s own command takes the socket and serves', async () => {
    const page = readFileSync(`${root}docs/deploying.md`, 'utf8')
    const steps = /## One machine\n[\s\S]*?```sh\n([\s\S]*?)```/.exec(page)?.[1] ?? ''
    expect(steps).toContain('systemctl enable --now sallyport.socket sallyport.service')
    const clone = scope.path('clone')
    await mustRun('git', ['clone', '--quiet', root, clone])
    const port = await freePort()
    const script = scope.path('steps.sh')
    writeFileSync(
      script,
      `set -e\n${ASIDE}\n${steps}
# What systemd does with the two units, on a port of the test.
command=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/sallyport.service)
check=$(sed -n 's/^ExecStartPre=//p' /etc/systemd/system/sallyport.service)
$check
exec systemd-socket-activate --listen=127.0.0.1:${port} $command\n`,
    )
    const env = Object.fromEntries(
      Object.entries({
        ...process.env,
        NODE: node,
        PATH: `/usr/bin:/usr/sbin:${process.env['PATH']}:${dirname(node)}`,
      }).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    )
    const service = await startService(scope, {
      name: 'the steps',
      command: 'unshare',
      args: ['--mount', '--propagation', 'private', 'bash', script],
      cwd: clone,
      env,
      ready: () => accepts(port),
      readyMs: 150_000,
    })
    const refused = await run('curl', [
      '-sv',
      '-m',
      '20',
      '-x',
      `http://127.0.0.1:${port}`,
      'https://cgr.dv/',
    ])
    expect(refused.stderr).toContain('sallyport denied cgr.dv:443: host_not_allowed, did you mean cgr.dev?')
    expect(service.stdout()).toContain('systemctl enable --now')
    const isRecorded = (): boolean => service.stdout().includes('"action":"tunnel-denied"')
    await eventually('record of the denial', 10_000, isRecorded)
  })
})
