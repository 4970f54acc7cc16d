/** Certificates of throw-away authorities, made by openssl. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0

/** Paths of PEM files. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

export class CertificateLab {
  readonly folder = mkdtempSync(join(tmpdir(), 'sallyport-certificates-'))
  #count = 0

  path(name: string): string {
    return join(this.folder, name)
  }

  authority(name: string): Pair {
    const pair = { cert: this.path(`${name}.pem`), key: this.path(`${name}.key`) }
    const usage = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign']
    openssl([
      'req',
      '-x509',
      ...EC,
      '-subj',
      `/CN=${name}`,
      '-days',
      '2',
      '-keyout',
      pair.key,
      '-out',
      pair.cert,
      ...usage,
    ])
    return pair
  }

  /** @param names as openssl writes subjectAltName, such as `DNS:a.test,URI:spiffe://test/a`; empty for none */
  issue(by: Pair, commonName: string, names: string, more: readonly string[] = ['-days', '2']): Pair {
    this.#count += 1
    const at = (kind: string): string => this.path(`${this.#count}.${kind}`)
    openssl(['req', '-new', ...EC, '-subj', `/CN=${commonName}`, '-keyout', at('key'), '-out', at('csr')])
    writeFileSync(at('ext'), `basicConstraints=CA:FALSE\n${names === '' ? '' : `subjectAltName=${names}\n`}`)
    const signer = ['-CA', by.cert, '-CAkey', by.key, '-set_serial', `${this.#count}`, ...more]
    openssl(['x509', '-req', '-in', at('csr'), '-extfile', at('ext'), '-out', at('pem'), ...signer])
    return { cert: at('pem'), key: at('key') }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export function readPair({ cert, key }: Pair): { readonly cert: Buffer; readonly key: Buffer } {
  return { cert: readFileSync(cert), key: readFileSync(key) }
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' })
}
