/** More servers would only mean more waiting: each is the same router. */
const SERVERS_MAX = 2;

/** STUN addresses of the router, which are its media addresses: from the candidates in its answer to a routed leg. */
export function stunUrls(routerSdp: string): string[] {
  const urls = new Set<string>();
  for (const line of routerSdp.split(/\r?\n/)) {
    // RFC 8839, 5.1: foundation, component, transport, priority, address, port.
    const [, transport, address, port] = /^a=candidate:\S+ \d+ (\S+) \d+ (\S+) (\d+) typ /.exec(line) ?? [];
    if (!address || !port || transport?.toLowerCase() !== "udp" || urls.size >= SERVERS_MAX) continue;
    urls.add(`stun:${address.includes(":") ? `[${address}]` : address}:${port}`);
  }
  return [...urls];
}
