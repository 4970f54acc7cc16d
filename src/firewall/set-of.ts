/** An nft set of users or interfaces: numbers bare, names in quotes; the caller has seen to it that there is nothing in them to escape. */
export function setOf(names: readonly string[]): string {
  return `{ ${names.map((name) => (/^[0-9]+$/.test(name) ? name : `"${name}"`)).join(', ')} }`
}
