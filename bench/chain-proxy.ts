/** The npm package proxy-chain as a plain CONNECT proxy. Usage: node chain-proxy.ts PORT */
import { createRequire } from 'node:module'

interface ProxyChain {
  readonly Server: new (options: { port: number; host: string; verbose: boolean }) => {
    listen(): Promise<void>
  }
}

// No dependency of this project: it is measured where it is installed, beside this project or on NODE_PATH.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the package, and so its types, may be absent
const { Server } = createRequire(import.meta.url)('proxy-chain') as ProxyChain
await new Server({ port: Number(process.argv[2]), host: '127.0.0.1', verbose: false }).listen()
