/** Settings under which each denial has a record of its own, unless they say otherwise: tests deny the same host often. */
export function withEveryDenial(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { audit } = settings
  return { ...settings, audit: { fold: null, ...(typeof audit === 'object' ? audit : {}) } }
}
