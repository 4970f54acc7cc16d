/**
 * Domains whose subdomains belong to anybody who signs up: a wildcard over one of them allows strangers. The
 * public suffix list names many (its private section is checked too); these are the ones it does not, or not in
 * every release.
 */
export const SHARED_TENANT_APEXES: readonly string[] = [
  'aliyuncs.com',
  'amazonaws.com',
  'atlassian.net',
  'auth0.com',
  'azurecr.io',
  'azureedge.net',
  'azurefd.net',
  'azurewebsites.net',
  'backblazeb2.com',
  'blob.core.windows.net',
  'cloudapp.azure.com',
  'cloudflarestorage.com',
  'cloudfront.net',
  'digitaloceanspaces.com',
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
  'myshopify.com',
  'netlify.app',
  'ngrok.io',
  'okta.com',
  'oraclecloud.com',
  'pages.dev',
  'pkg.dev',
  'r2.cloudflarestorage.com',
  'r2.dev',
  'run.app',
  's3.amazonaws.com',
  'service-now.com',
  'sharepoint.com',
  'storage.googleapis.com',
  'us.auth0.com',
  'vercel.app',
  'wasabisys.com',
  'web.core.windows.net',
  'workers.dev',
  'zendesk.com',
]

/** Whether names below `domain` belong to different customers of one service. */
export function isSharedTenant(domain: string): boolean {
  return SHARED_TENANT_APEXES.some((tenant) => tenant === domain || tenant.endsWith(`.${domain}`))
}
