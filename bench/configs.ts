/** Configuration files: defaults wherever they do the task, limits out of the way, a log of every tunnel. */
import type { Site } from './proxies.ts'
import { ORIGIN_HOST } from './workshop.ts'

/** More tunnels than are ever opened here. */
const MANY = 25_000

export function sallyportConfig({ port, originPort }: Site, wire: string): string {
  return `
listen: 127.0.0.1:${port}
admin: { listen: '127.0.0.1:0' }
policy:
  allow: [{ host: ${ORIGIN_HOST}, port: ${originPort} }]
clients: { maxTunnelsPerClient: ${MANY} }
dns:
  hosts: { ${ORIGIN_HOST}: [127.0.0.1] }
addresses: { allow: [127.0.0.0/8] }
limits: { connections: ${MANY} }
wire: ${wire}
`
}

export function squidConfig(
  { port, originPort, descriptors }: Site,
  { logs, hosts }: { readonly logs: string; readonly hosts: string },
): string {
  return `
http_port 127.0.0.1:${port}
hosts_file ${hosts}
acl clients src 127.0.0.0/8
acl connect method CONNECT
acl origin_host dstdomain ${ORIGIN_HOST}
acl origin_port port ${originPort}
http_access allow clients connect origin_host origin_port
http_access deny all
cache deny all
max_filedescriptors ${descriptors}
access_log stdio:${logs}/access.log squid
cache_log ${logs}/cache.log
coredump_dir none
pid_filename none
pinger_enable off
shutdown_lifetime 0 seconds
`
}

export function tinyproxyConfig(
  { port, originPort }: Site,
  { filter, log }: { readonly filter: string; readonly log: string },
): string {
  return `
Listen 127.0.0.1
Port ${port}
Timeout 900
MaxClients ${MANY}
Allow 127.0.0.0/8
ConnectPort ${originPort}
Filter "${filter}"
FilterDefaultDeny Yes
LogFile "${log}"
LogLevel Connect
`
}

export function haproxyConfig({ port, originPort, descriptors }: Site): string {
  return `
global
  maxconn ${Math.floor((descriptors - 400) / 2)}
  maxpipes 64
  nbthread 1
defaults
  mode tcp
  option splice-request
  option splice-response
  timeout connect 10s
  timeout client 15m
  timeout server 15m
frontend clients
  bind 127.0.0.1:${port}
  default_backend origin
backend origin
  server origin 127.0.0.1:${originPort}
`
}
