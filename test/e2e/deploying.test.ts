import { readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { node, root, sallyport } from './lab/gate.ts'
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

const noNft = await needing({ programs: ['nft'] })

/** Own folders where the steps write, and the supported Node where the unit expects it; all gone with the process. */
const ASIDE = `
mount -t tmpfs none /opt
mkdir /opt/upper /opt/work
mount -t overlay -o lowerdir=/etc,upperdir=/opt/upper,workdir=/opt/work overlay /etc
mount --bind "$NODE" /usr/bin/node
systemctl() { echo "systemctl $*"; }
`

/** The first commands under a heading. */
const block = (heading: string): string => {
  const page = readFileSync(`${root}docs/deploying.md`, 'utf8')
  const section = page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`))
  return /```sh\n([\s\S]*?)```/.exec(section ?? '')?.[1] ?? ''
}

/** Of each package, by the folder it is in. */
const versions = (lockFile: string): Map<string, string | undefined> => {
  const lock = z.looseObject({
    packages: z.record(z.string(), z.looseObject({ version: z.string().optional() })),
  })
  const { packages } = lock.parse(JSON.parse(readFileSync(lockFile, 'utf8')))
  return new Map(Object.entries(packages).map(([path, { version }]) => [path, version]))
}

describe.skipIf(lab.missing)(`docs/deploying.md as written${lab.because}`, () => {
  const scope = new Scope()
  afterAll(() => scope.close())

  test(
    'one machine: the steps install it, and the unit’s own command serves',
    { timeout: 660_000 },
    async () => {
      const steps = block('One machine')
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
cp /opt/sallyport/node_modules/.package-lock.json ${scope.path('installed.json')}
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
        // It installs twice, over the network, and builds.
        readyMs: 600_000,
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
      // Not whatever the ranges allow on that day.
      const installed = versions(scope.path('installed.json'))
      const locked = versions(`${root}package-lock.json`)
      expect(installed.size).toBeGreaterThan(10)
      expect(new Map([...installed.keys()].map((path) => [path, locked.get(path)]))).toEqual(installed)
      const isRecorded = (): boolean => service.stdout().includes('"action":"tunnel-denied"')
      await eventually('record of the denial', 10_000, isRecorded)
    },
  )

  test.skipIf(noNft.missing)(`what you already run: nft takes the redirect${noNft.because}`, async () => {
    const command = block('What you already run')
    expect(command).toContain('| nft -f -')
    const script = `set -eo pipefail\nsallyport() { ${node} ${sallyport} "$@"; }\n${command}\nnft list ruleset`
    const { stdout } = await mustRun('unshare', ['--net', 'bash', '-c', script], { cwd: root })
    expect(stdout).toMatch(/skuid 1000 .*tcp dport 443 redirect to :3129/)
  })
})
