/**
 * Domains whose subdomains belong to anybody who signs up: a wildcard over one of them allows strangers. The
 * public suffix list names many (its private section is checked too); these are the ones it does not, or not in
 * every release.
 */
const SHARED_TENANT_APEXES: readonly string[] = [
  'aliyuncs.com',
  'amazonaws.com',
  'atlassian.net',
  'auth0.com',
  'azurecr.io',
  'azureedge.net',
  'azurefd.net',
  'awsapprunner.com',
  'azurewebsites.net',
  'b-cdn.net',
  'backblazeb2.com',
  'blob.core.windows.net',
  'cloudapp.azure.com',
  'cloudflarestorage.com',
  'cloudfront.net',
  'database.windows.net',
  'compute.amazonaws.com',
  'dfs.core.windows.net',
  'digitaloceanspaces.com',
  'elb.amazonaws.com',
  'eu.auth0.com',
  'fastly.net',
  'freshdesk.com',
  'gcr.io',
  'github.io',
  'githubusercontent.com',
  'gitlab.io',
  'googleapis.com',
  'googleusercontent.com',
  'herokuapp.com',
  'jfrog.io',
  'my.salesforce.com',
  'myshopify.com',
  'netlify.app',
  'ngrok.io',
  'okta.com',
  'oraclecloud.com',
  'pages.dev',
  'pkg.dev',
  'queue.core.windows.net',
  'r2.cloudflarestorage.com',
  'r2.dev',
  'run.app',
  's3.amazonaws.com',
  'service-now.com',
  'sharepoint.com',
  'storage.googleapis.com',
  'table.core.windows.net',
  'us.auth0.com',
  'vault.azure.net',
  'vercel.app',
  'wasabisys.com',
  'web.core.windows.net',
  'workers.dev',
  'zendesk.com',
]

/**
 * Providers whose every name belongs to a service or a region of theirs: below them only what the public suffix list
 * knows to be one customer's may carry a wildcard (`*.eu-west-1.amazonaws.com` would cover `s3.eu-west-1…`).
 */
const PROVIDERS: readonly string[] = ['aliyuncs.com', 'amazonaws.com', 'windows.net']

/** Whether names below `domain` belong to different customers of one service. */
export function isSharedTenant(domain: string): boolean {
  return SHARED_TENANT_APEXES.some((tenant) => tenant === domain || tenant.endsWith(`.${domain}`))
}

/**
 * The shared service that a wildcard over `apex` would open, or nothing.
 *
 * @param onPrivateSuffix the public suffix list names a private suffix above the apex: it is one customer's
 */
export function sharedService(apex: string, onPrivateSuffix: boolean): string | undefined {
  const tenant = SHARED_TENANT_APEXES.find(
    (candidate) => candidate === apex || candidate.endsWith(`.${apex}`),
  )
  if (tenant !== undefined) return tenant
  return onPrivateSuffix ? undefined : PROVIDERS.find((provider) => apex.endsWith(`.${provider}`))
}
