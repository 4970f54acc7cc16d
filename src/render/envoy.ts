/**
 * Envoy: a whole bootstrap of a CONNECT proxy. A virtual host for each allowed host and port is all there is, so
 * everything else is 404; the address comes from the dynamic forward proxy's own lookups.
 */
import { nameOf, type Plan } from './plan.ts'
import { GAPS, heading, type Rendering } from './rendering.ts'
import { yamlText } from './yaml.ts'

const EXT = 'type.googleapis.com/envoy.extensions'

export function renderEnvoy(plan: Plan): Rendering {
  const gaps = [
    GAPS.sni,
    'It refreshes names at their TTL, but never sooner than dns_min_refresh_rate (5 s by default).',
    GAPS.guard,
    'A refused client sees 404 or 403 without a reason.',
  ]
  return yamlText(heading(plan, 'envoy', gaps), [
    {
      static_resources: {
        listeners: [{ name: 'sallyport', address: socket('127.0.0.1', 3128), filter_chains: [chain(plan)] }],
        clusters: [
          {
            name: 'sallyport',
            lb_policy: 'CLUSTER_PROVIDED',
            connect_timeout: '10s',
            cluster_type: {
              name: 'envoy.clusters.dynamic_forward_proxy',
              typed_config: {
                '@type': `${EXT}.clusters.dynamic_forward_proxy.v3.ClusterConfig`,
                dns_cache_config: dnsCache(plan),
              },
            },
          },
        ],
      },
    },
  ])
}

function chain(plan: Plan): unknown {
  return {
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: {
          '@type': `${EXT}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
          stat_prefix: 'sallyport',
          upgrade_configs: [{ upgrade_type: 'CONNECT' }],
          http_protocol_options: {},
          request_headers_timeout: '10s',
          stream_idle_timeout: '900s',
          access_log: [
            {
              name: 'envoy.access_loggers.stdout',
              typed_config: { '@type': `${EXT}.access_loggers.stream.v3.StdoutAccessLog` },
            },
          ],
          route_config: {
            name: 'sallyport',
            virtual_hosts: [
              ...plan.exceptions.map((entry) => ({
                name: `deny ${nameOf(entry)}:${entry.port}`,
                domains: [`${nameOf(entry)}:${entry.port}`],
                routes: [{ match: { connect_matcher: {} }, direct_response: { status: 403 } }],
              })),
              ...plan.allow.map((entry) => ({
                name: `allow ${nameOf(entry)}:${entry.port}`,
                domains: [`${nameOf(entry)}:${entry.port}`],
                routes: [
                  {
                    match: { connect_matcher: {} },
                    route: {
                      cluster: 'sallyport',
                      timeout: '0s',
                      upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
                    },
                  },
                ],
              })),
            ],
          },
          http_filters: [
            {
              name: 'envoy.filters.http.dynamic_forward_proxy',
              typed_config: {
                '@type': `${EXT}.filters.http.dynamic_forward_proxy.v3.FilterConfig`,
                dns_cache_config: dnsCache(plan),
              },
            },
            {
              name: 'envoy.filters.http.router',
              typed_config: { '@type': `${EXT}.filters.http.router.v3.Router` },
            },
          ],
        },
      },
    ],
  }
}

/** The same in the cluster and in the filter, or Envoy refuses to start. */
function dnsCache({ resolvers }: Plan): unknown {
  return {
    name: 'sallyport',
    dns_lookup_family: 'ALL',
    ...(resolvers.length > 0 && {
      typed_dns_resolver_config: {
        name: 'envoy.network.dns_resolver.cares',
        typed_config: {
          '@type': `${EXT}.network.dns_resolver.cares.v3.CaresDnsResolverConfig`,
          resolvers: resolvers.map(({ address, port }) => socket(address, port)),
        },
      },
    }),
  }
}

function socket(address: string, port: number): unknown {
  return { socket_address: { address, port_value: port } }
}
