import { createAuthority } from './certificates.ts'
import type { Authority } from './certificates.ts'
import { pushImage } from './image.ts'
import type { Image } from './image.ts'
import { blobHost, registryHost } from './image-hosts.ts'
import { startNameserver } from './nameserver.ts'
import type { Answer, Nameserver } from './nameserver.ts'
import { packageHost } from './package-host.ts'
import { startRegistry } from './registry.ts'
import type { Scope } from './scope.ts'
import { startSite } from './site.ts'
import type { Site } from './site.ts'

export const CGR = 'cgr.dev'
export const R2 = '9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com'
export const WOLFI = 'packages.wolfi.dev'

/** A trap: it resolves and listens, and no policy of the tests allows it. */
export const MISTYPED = 'cgr.dv'

/** Where each host lives, for how long that may be believed, and the CNAME on the way. */
const places: readonly Answer[] = [
  { name: CGR, address: '127.0.0.2', ttl: 60 },
  { name: R2, address: '127.0.0.3', ttl: 30 },
  { name: WOLFI, address: '127.0.0.4', ttl: 20, via: 'edge.example.net' },
  { name: MISTYPED, address: '127.0.0.9', ttl: 60 },
]

export const placeOf = (host: string): Answer => {
  const place = places.find(({ name }) => name === host)
  if (place === undefined) throw new Error(`${host} is not a host of the lab`)
  return place
}

/** For `describeWith`: what the lab listens on. */
export const httpsPorts = places.map(({ address }) => [443, address] as const)

export interface PackageSide {
  authority: Authority
  nameserver: Nameserver
  wolfi: Site
  mistyped: Site
  /** Of the git repository at /demo.git on packages.wolfi.dev. */
  commit: string
}

export interface ImageSide {
  cgr: Site
  r2: Site
  /** `cgr.dev/<name>`, without a tag. */
  repository: string
  image: Image
}

/** The name server, the authority and the plain web site: enough for tests that pull no image. */
export const startPackageSide = async (scope: Scope): Promise<PackageSide> => {
  const [authority, nameserver, { handler, commit }] = await Promise.all([
    createAuthority(scope),
    startNameserver(scope, places),
    packageHost(scope),
  ])
  const wolfi = await startSite(scope, authority, WOLFI, placeOf(WOLFI).address, handler)
  const mistyped = await startSite(scope, authority, MISTYPED, placeOf(MISTYPED).address, handler)
  return { authority, nameserver, wolfi, mistyped, commit }
}

/** The registry with its image, in front of it cgr.dev, and the blob host. */
export const startImageSide = async (scope: Scope, authority: Authority): Promise<ImageSide> => {
  const registry = await startRegistry(scope)
  const name = 'chainguard/lab'
  const image = await pushImage(scope, registry.address, name)
  const front = registryHost(registry.address, R2)
  const cgr = await startSite(scope, authority, CGR, placeOf(CGR).address, front)
  const r2 = await startSite(scope, authority, R2, placeOf(R2).address, blobHost(registry.address))
  return { cgr, r2, repository: `${CGR}/${name}`, image }
}
