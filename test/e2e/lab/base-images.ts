import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { DockerHost } from './docker-host.ts'
import { node, root } from './gate.ts'
import { mustRun } from './programs.ts'
import type { Scope } from './scope.ts'

/** npm reaches its registry as it does for whoever runs the tests. */
const asUsual = Object.fromEntries(
  Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
)

/** A program and the libraries that it asks for, at the places where it looks for them. */
const putProgram = async (image: string, program: string, as = program): Promise<void> => {
  const put = (file: string, place = file): void => {
    mkdirSync(dirname(image + place), { recursive: true })
    copyFileSync(file, image + place)
    chmodSync(image + place, 0o755)
  }
  put(program, as)
  const { stdout } = await mustRun('ldd', [program]).catch(() => ({ stdout: '' }))
  for (const [, library] of stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(/gm))
    if (library !== undefined) put(library)
}

const putBusybox = async (image: string): Promise<void> => {
  await putProgram(image, '/bin/busybox')
  mkdirSync(`${image}/usr/bin`, { recursive: true })
  for (const applet of ['sh', 'sleep', 'mkdir', 'mv', 'rm', 'nc', 'cat', 'env']) {
    symlinkSync('/bin/busybox', `${image}/bin/${applet}`)
    symlinkSync('/bin/busybox', `${image}/usr/bin/${applet}`)
  }
}

/**
 * Images in place of those that no registry is there for: the same names and the same way to be used, out of this
 * machine's own files. `latest` has Node alone; `latest-dev` npm and a shell too, with the locked packages in npm's cache.
 */
export const makeBaseImages = async (scope: Scope, { docker }: DockerHost): Promise<void> => {
  const folder = (name: string): string => {
    const image = scope.path(`base-${name}`)
    mkdirSync(`${image}/etc`, { recursive: true })
    mkdirSync(`${image}/tmp`)
    chmodSync(`${image}/tmp`, 0o1777)
    writeFileSync(
      `${image}/etc/passwd`,
      'root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/false\n',
    )
    writeFileSync(`${image}/etc/group`, 'root:x:0:\nnonroot:x:65532:\n')
    return image
  }
  const bring = async (image: string, tag: string, ...changes: string[]): Promise<void> => {
    const tar = `${image}.tar`
    await mustRun('tar', ['--owner=0', '--group=0', '-C', image, '-cf', tar, '.'])
    const flags = changes.flatMap((change) => ['--change', change])
    const imported = await docker(['import', ...flags, tar, tag])
    if (imported.code !== 0) throw new Error(imported.stderr)
  }

  const runtime = folder('runtime')
  await putProgram(runtime, node, '/usr/bin/node')
  await bring(
    runtime,
    'cgr.dev/chainguard/node:latest',
    'USER 65532',
    'WORKDIR /app',
    'ENTRYPOINT ["/usr/bin/node"]',
  )

  const build = folder('build')
  await putProgram(build, node, '/usr/bin/node')
  await putBusybox(build)
  const npm = dirname(
    dirname(
      (await mustRun('readlink', ['-f', (await mustRun('which', ['npm'])).stdout.trim()])).stdout.trim(),
    ),
  )
  cpSync(npm, `${build}/usr/lib/node_modules/npm`, { recursive: true })
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', `${build}/usr/bin/npm`)
  const project = mkdtempSync(join(scope.folder, 'packages-'))
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(root + file, join(project, file))
  const cache = `${build}/npm-cache`
  // The registry is this machine's own; what the build asks of it has to be in the cache.
  await mustRun('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--cache', cache], {
    cwd: project,
    env: asUsual,
    deadlineMs: 120_000,
  })
  const registry = (await mustRun('npm', ['config', 'get', 'registry'], { env: asUsual })).stdout.trim()
  const settings = { cache: '/npm-cache', offline: 'true', registry, update_notifier: 'false' }
  await bring(
    build,
    'cgr.dev/chainguard/node:latest-dev',
    'USER 65532',
    'WORKDIR /app',
    'ENTRYPOINT ["/usr/bin/node"]',
    'ENV PATH=/usr/bin:/bin',
    ...Object.entries(settings).map(([name, value]) => `ENV npm_config_${name}=${value}`),
  )
}

/** A workload with skopeo and curl, and the lab's authority as the only one it trusts. */
export const makeWorkloadImage = async (
  scope: Scope,
  { docker }: DockerHost,
  caFile: string,
): Promise<string> => {
  const image = scope.path('base-workload')
  mkdirSync(`${image}/etc/containers`, { recursive: true })
  mkdirSync(`${image}/tmp`)
  mkdirSync(`${image}/var/tmp`, { recursive: true })
  await putBusybox(image)
  await putProgram(image, '/usr/bin/skopeo')
  await putProgram(image, '/usr/bin/curl')
  copyFileSync(caFile, `${image}/etc/ca.pem`)
  await mustRun('tar', ['--owner=0', '--group=0', '-C', image, '-cf', `${image}.tar`, '.'])
  const tag = 'sallyport-test/workload:local'
  const imported = await docker([
    'import',
    '--change',
    'ENV PATH=/usr/bin:/bin SSL_CERT_FILE=/etc/ca.pem CURL_CA_BUNDLE=/etc/ca.pem',
    `${image}.tar`,
    tag,
  ])
  if (imported.code !== 0) throw new Error(imported.stderr)
  return tag
}
