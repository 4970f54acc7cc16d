/**
 * The parts that we use of other systems' published shapes, closed: a field that is not here is not theirs, or not yet
 * looked up. Limits are those that the sources state.
 */
import { z } from 'zod'

const fqdn = z.string().regex(/^(?:\*\.)?(?:[a-z0-9_-]{1,63}\.)+[a-z0-9-]{2,63}$/)
const port = z.int().min(1).max(65_535)

/**
 * CreateRuleGroupRequest of network-firewall 2020-11-12.
 * Source: botocore/data/network-firewall/2020-11-12/service-2.json.
 */
export const createRuleGroup = z.strictObject({
  RuleGroupName: z.string().regex(/^[a-zA-Z0-9-]{1,128}$/),
  Type: z.literal('STATEFUL'),
  Description: z.string().max(512).regex(/^.*$/),
  Capacity: z.int().min(1).max(30_000),
  RuleGroup: z.strictObject({
    RulesSource: z.strictObject({
      RulesString: z
        .string()
        .max(2_000_000)
        .refine(
          (rules) =>
            rules
              .trim()
              .split('\n')
              .every(
                (line) =>
                  line.startsWith('#') ||
                  /^(?:pass|drop) tls \$HOME_NET any -> \$EXTERNAL_NET [0-9]+ \(msg:"[^";]+"; .*sid:[0-9]+; rev:1;\)$/.test(
                    line,
                  ),
              ),
          { error: 'not Suricata rules' },
        ),
    }),
    StatefulRuleOptions: z.strictObject({ RuleOrder: z.enum(['DEFAULT_ACTION_ORDER', 'STRICT_ORDER']) }),
  }),
  Tags: z.array(z.strictObject({ Key: z.string().min(1).max(128), Value: z.string().max(256) })).max(200),
})

/**
 * Source: networksecurity v1, GatewaySecurityPolicy (the export schema in the Google Cloud SDK).
 */
export const gatewaySecurityPolicy = z.strictObject({
  name: z
    .string()
    .regex(/^projects\/[^/]+\/locations\/[^/]+\/gatewaySecurityPolicies\/[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/),
  description: z.string().optional(),
  tlsInspectionPolicy: z.string().optional(),
})

/**
 * Source: networksecurity v1, GatewaySecurityPolicyRule (the export schema in the Google Cloud SDK).
 */
export const gatewaySecurityPolicyRule = z.strictObject({
  name: z
    .string()
    .regex(
      /^projects\/[^/]+\/locations\/[^/]+\/gatewaySecurityPolicies\/[^/]+\/rules\/[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    ),
  description: z.string().optional(),
  enabled: z.boolean(),
  priority: z.int().min(0).max(2_147_483_647),
  basicProfile: z.enum(['ALLOW', 'DENY']),
  sessionMatcher: z
    .string()
    .regex(
      /^\((?:host\(\)(?: == '[a-z0-9._-]+'|\.endsWith\('\.[a-z0-9._-]+'\))(?: \|\| (?!\))|(?=\)))){1,10}\) && destination\.port == [0-9]+$/,
    ),
  applicationMatcher: z.string().optional(),
  tlsInspectionEnabled: z.boolean().optional(),
})

/**
 * Source: Microsoft.Network/firewallPolicies/ruleCollectionGroups 2023-11-01 (ARM template reference).
 */
export const armTemplate = z.strictObject({
  $schema: z.url(),
  contentVersion: z.string().regex(/^[0-9]+(?:\.[0-9]+){3}$/),
  metadata: z.record(z.string(), z.unknown()),
  parameters: z.record(
    z.string(),
    z.strictObject({ type: z.enum(['string', 'array']), defaultValue: z.unknown().optional() }),
  ),
  resources: z.tuple([
    z.strictObject({
      type: z.literal('Microsoft.Network/firewallPolicies/ruleCollectionGroups'),
      apiVersion: z.literal('2023-11-01'),
      name: z.string(),
      properties: z.strictObject({
        priority: z.int().min(100).max(65_000),
        ruleCollections: z.array(
          z.strictObject({
            ruleCollectionType: z.literal('FirewallPolicyFilterRuleCollection'),
            name: z.string(),
            priority: z.int().min(100).max(65_000),
            action: z.strictObject({ type: z.enum(['Allow', 'Deny']) }),
            rules: z.array(
              z.strictObject({
                ruleType: z.literal('ApplicationRule'),
                name: z.string().min(1),
                description: z.string(),
                protocols: z.array(z.strictObject({ protocolType: z.enum(['Http', 'Https']), port })),
                targetFqdns: z.array(fqdn),
                sourceAddresses: z.union([z.array(z.string()), z.string().startsWith('[')]),
                terminateTLS: z.boolean(),
              }),
            ),
          }),
        ),
      }),
    }),
  ]),
})

const typed = <T extends z.ZodRawShape>(type: string, fields: T) =>
  z.strictObject({ '@type': z.literal(`type.googleapis.com/envoy.${type}`), ...fields })
const address = z.strictObject({ socket_address: z.strictObject({ address: z.string(), port_value: port }) })
const seconds = z.string().regex(/^[0-9]+s$/)
const dnsCache = z.strictObject({
  name: z.string().min(1),
  dns_lookup_family: z.enum(['AUTO', 'V4_ONLY', 'V6_ONLY', 'V4_PREFERRED', 'ALL']),
  typed_dns_resolver_config: z
    .strictObject({
      name: z.string(),
      typed_config: typed('extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig', {
        resolvers: z.array(address).min(1),
      }),
    })
    .optional(),
})
const route = z.strictObject({
  match: z.strictObject({ connect_matcher: z.strictObject({}) }),
  direct_response: z.strictObject({ status: z.int().min(200).max(599) }).optional(),
  route: z
    .strictObject({
      cluster: z.string().min(1),
      timeout: seconds,
      upgrade_configs: z.array(
        z.strictObject({ upgrade_type: z.literal('CONNECT'), connect_config: z.strictObject({}) }),
      ),
    })
    .optional(),
})

/**
 * Source: envoy.config.bootstrap.v3.Bootstrap and the extensions it names (Envoy's v3 API reference).
 */
export const envoyBootstrap = z.strictObject({
  static_resources: z.strictObject({
    listeners: z.array(
      z.strictObject({
        name: z.string(),
        address,
        filter_chains: z.array(
          z.strictObject({
            filters: z.array(
              z.strictObject({
                name: z.string().min(1),
                typed_config: typed(
                  'extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                  {
                    stat_prefix: z.string().min(1),
                    upgrade_configs: z.array(z.strictObject({ upgrade_type: z.literal('CONNECT') })),
                    http_protocol_options: z.strictObject({}),
                    request_headers_timeout: seconds,
                    stream_idle_timeout: seconds,
                    access_log: z.array(
                      z.strictObject({
                        name: z.string(),
                        typed_config: typed('extensions.access_loggers.stream.v3.StdoutAccessLog', {}),
                      }),
                    ),
                    route_config: z.strictObject({
                      name: z.string(),
                      virtual_hosts: z.array(
                        z.strictObject({
                          name: z.string().min(1),
                          domains: z.array(z.string().regex(/^(?:\*\.)?[a-z0-9._-]+:[0-9]+$/)).length(1),
                          routes: z.array(route).length(1),
                        }),
                      ),
                    }),
                    http_filters: z.tuple([
                      z.strictObject({
                        name: z.string(),
                        typed_config: typed('extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig', {
                          dns_cache_config: dnsCache,
                        }),
                      }),
                      z.strictObject({
                        name: z.string(),
                        typed_config: typed('extensions.filters.http.router.v3.Router', {}),
                      }),
                    ]),
                  },
                ),
              }),
            ),
          }),
        ),
      }),
    ),
    clusters: z.array(
      z.strictObject({
        name: z.string().min(1),
        lb_policy: z.literal('CLUSTER_PROVIDED'),
        connect_timeout: seconds,
        cluster_type: z.strictObject({
          name: z.literal('envoy.clusters.dynamic_forward_proxy'),
          typed_config: typed('extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig', {
            dns_cache_config: dnsCache,
          }),
        }),
      }),
    ),
  }),
})
