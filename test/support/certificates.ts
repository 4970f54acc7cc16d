/**
 * Certificate authorities and certificates for tests, with any dates and names, good or bad. X.509 (RFC 5280) is little
 * enough DER to write it here; a package for it would bring twenty others.
 */
import { createPrivateKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'

export interface CertificateOptions {
  readonly commonName: string
  readonly organization?: string
  readonly dnsNames?: readonly string[]
  readonly from?: Date
  readonly until?: Date
}

export interface Certificate {
  readonly cert: string
  readonly key: string
}

export interface Authority extends Certificate {
  issue(options: CertificateOptions): Certificate
  /** A CA below this one. */
  issueAuthority(options: CertificateOptions): Authority
}

const DAY_MS = 86_400_000

/** A self-signed CA. */
export function createAuthority(options: CertificateOptions): Authority {
  const pair = newPair()
  return authority(options, pair, { name: distinguishedName(options), key: pair.privateKey })
}

interface Issuer {
  readonly name: Buffer
  readonly key: KeyObject
}

interface Pair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

function authority(options: CertificateOptions, pair: Pair, issuer: Issuer): Authority {
  const self: Issuer = { name: distinguishedName(options), key: pair.privateKey }
  return {
    ...certificate(options, pair, issuer, true),
    issue: (leaf) => certificate(leaf, newPair(), self, false),
    issueAuthority: (below) => authority(below, newPair(), self),
  }
}

/** `node:crypto` has no class for a pair; the keys go through PEM so that they have one type. */
function newPair(): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  return { publicKey, privateKey: createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })) }
}

function certificate(options: CertificateOptions, pair: Pair, issuer: Issuer, ca: boolean): Certificate {
  const from = options.from ?? new Date(Date.now() - DAY_MS)
  const until = options.until ?? new Date(from.getTime() + 90 * DAY_MS)
  const names = options.dnsNames ?? []
  const serial = randomBytes(8)
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f)
  const extensions = [
    extension('2.5.29.19', sequence(...(ca ? [der(0x01, Buffer.of(0xff))] : []))),
    // keyCertSign and cRLSign, or digitalSignature.
    extension('2.5.29.15', der(0x03, ca ? Buffer.of(1, 0x06) : Buffer.of(7, 0x80))),
    ...(names.length > 0
      ? [extension('2.5.29.17', sequence(...names.map((name) => der(0x82, Buffer.from(name, 'latin1')))))]
      : []),
  ]
  const body = sequence(
    der(0xa0, integer(Buffer.of(2))),
    integer(serial),
    ECDSA_SHA256,
    issuer.name,
    sequence(time(from), time(until)),
    distinguishedName(options),
    pair.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const whole = sequence(body, ECDSA_SHA256, bits(sign('sha256', body, issuer.key)))
  const base64 = (whole.toString('base64').match(/.{1,64}/g) ?? []).join('\n')
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`,
    key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }),
  }
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content
  const header =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(header), content])
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}

function integer(bytes: Buffer): Buffer {
  return der(0x02, bytes)
}

function bits(bytes: Buffer): Buffer {
  return der(0x03, Buffer.concat([Buffer.of(0), bytes]))
}

function identifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const groups = [arc & 0x7f]
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80)
    bytes.push(...groups)
  }
  return der(0x06, Buffer.from(bytes))
}

/** ecdsa-with-SHA256, RFC 5758 section 3.2. */
const ECDSA_SHA256 = sequence(identifier('1.2.840.10045.4.3.2'))

function extension(oid: string, value: Buffer): Buffer {
  return sequence(identifier(oid), der(0x04, value))
}

function distinguishedName({ commonName, organization }: CertificateOptions): Buffer {
  const attribute = (oid: string, text: string): Buffer =>
    der(0x31, sequence(identifier(oid), der(0x0c, Buffer.from(text))))
  return sequence(
    ...(organization === undefined ? [] : [attribute('2.5.4.10', organization)]),
    attribute('2.5.4.3', commonName),
  )
}

/** GeneralizedTime, for every year; OpenSSL reads it where RFC 5280 wants UTCTime too. */
function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/[-:T]/g, '').slice(0, 14)
  return der(0x18, Buffer.from(`${digits}Z`))
}
