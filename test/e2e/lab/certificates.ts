import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mustRun } from './programs.ts'
import type { Scope } from './scope.ts'

export interface Authority {
  /** The PEM file that clients are told to trust. */
  file: string
  issue: (host: string) => Promise<{ cert: Buffer; key: Buffer }>
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** A certificate authority of its own for one test run, made by openssl. */
export const createAuthority = async (scope: Scope): Promise<Authority> => {
  const folder = scope.path('certificates')
  mkdirSync(folder)
  const at = (name: string): string => `${folder}/${name}`
  const caExtensions = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign']
  const ca = ['-subj', '/CN=Sallyport test CA', '-days', '2', '-keyout', at('ca.key'), '-out', at('ca.pem')]
  await mustRun('openssl', ['req', '-x509', ...newKey, ...ca, ...caExtensions])

  const issue: Authority['issue'] = async (host) => {
    const file = (kind: string): string => at(`${host}.${kind}`)
    // A common name has at most 64 characters; clients read the subject alternative name.
    const names = ['-subj', '/CN=sallyport test', '-keyout', file('key'), '-out', file('csr')]
    await mustRun('openssl', ['req', '-new', ...newKey, ...names])
    writeFileSync(file('ext'), `subjectAltName=DNS:${host}\nextendedKeyUsage=serverAuth\n`)
    const signer = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2']
    const files = ['-in', file('csr'), '-extfile', file('ext'), '-out', file('pem')]
    await mustRun('openssl', ['x509', '-req', ...signer, ...files])
    return { cert: readFileSync(file('pem')), key: readFileSync(file('key')) }
  }
  return { file: at('ca.pem'), issue }
}
