import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { mustRun, tidyEnv } from './programs.ts'
import type { Scope } from './scope.ts'

export interface Image {
  /** Of the manifest, as `docker pull` prints it. */
  digest: string
  /** Of the layers as they travel, compressed. */
  layers: { digest: string; size: number }[]
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** An OCI layout written by hand: busybox, some megabytes that do not compress, and one small layer. */
const writeLayout = async (scope: Scope, layout: string): Promise<Image> => {
  mkdirSync(`${layout}/blobs/sha256`, { recursive: true })
  const blob = (bytes: Buffer, mediaType: string) => {
    const hex = sha256(bytes)
    writeFileSync(`${layout}/blobs/sha256/${hex}`, bytes)
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length }
  }
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
  const vnd = (kind: string): string => `application/vnd.oci.image.${kind}`

  const diffIds: string[] = []
  const layers: ReturnType<typeof blob>[] = []
  const layer = async (name: string, fill: (root: string) => void): Promise<void> => {
    const root = scope.path(`layer-${name}`)
    mkdirSync(root)
    fill(root)
    const file = scope.path(`layer-${name}.tar`)
    await mustRun('tar', ['--owner=0', '--group=0', '--sort=name', '-C', root, '-cf', file, '.'])
    const tar = readFileSync(file)
    diffIds.push(`sha256:${sha256(tar)}`)
    layers.push(blob(gzipSync(tar), vnd('layer.v1.tar+gzip')))
  }
  await layer('busybox', (root) => {
    mkdirSync(`${root}/bin`)
    copyFileSync('/bin/busybox', `${root}/bin/busybox`)
    chmodSync(`${root}/bin/busybox`, 0o755)
    symlinkSync('busybox', `${root}/bin/sh`)
  })
  await layer('ballast', (root) => writeFileSync(`${root}/ballast`, randomBytes(6 << 20)))
  await layer('note', (root) => writeFileSync(`${root}/note`, 'through the gate\n'))

  const platform = { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' }
  const rootfs = { type: 'layers', diff_ids: diffIds }
  const config = blob(json({ ...platform, config: { Cmd: ['/bin/sh'] }, rootfs }), vnd('config.v1+json'))
  const mediaType = vnd('manifest.v1+json')
  const manifest = blob(json({ schemaVersion: 2, mediaType, config, layers }), mediaType)
  writeFileSync(`${layout}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}')
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' }
  writeFileSync(`${layout}/index.json`, json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }))
  return { digest: manifest.digest, layers }
}

/** Builds the image and pushes it to the registry as `<name>:latest`. */
export const pushImage = async (scope: Scope, registry: string, name: string): Promise<Image> => {
  const layout = scope.path('image')
  const image = await writeLayout(scope, layout)
  const skopeo = ['--insecure-policy', 'copy', '--preserve-digests', '--dest-tls-verify=false']
  const [from, to] = [`oci:${layout}:latest`, `docker://${registry}/${name}:latest`]
  await mustRun('skopeo', [...skopeo, from, to], { env: tidyEnv(scope.folder) })
  return image
}
