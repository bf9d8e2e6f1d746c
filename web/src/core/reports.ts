// Reports on what arrived. A browser sends them as often as it thinks its own way up can bear; the router can ask for one with a packet, and
// then knows of a narrow way sooner, before sound waits in its queue.

const REQUEST = "http://www.webrtc.org/experiments/rtp-hdrext/transport-wide-cc-02";
const NUMBERS = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/** When a picture was taken, encoded and sent: not one that the router takes. */
const SPARE = "http://www.webrtc.org/experiments/rtp-hdrext/video-timing";

/** Header extensions with a higher number make each of a packet's longer (RFC 8285, section 4.2). */
const ID_MAX = 14;

/** Encrypted ones have two URIs (RFC 6904), and each may have attributes. */
const LINE = /^a=extmap:(\d+)(?:\/\w+)? (\S+)[^\r\n]*\r\n/gm;

/**
 * Our offer, by which reports may be asked for wherever there are numbers that they speak of; as it is if no number of an extension is free. Chromium understands
 * that and does not offer it by itself; with a picture in several sizes it uses all numbers, so one that is of no use here is left out. `before` is our
 * offer before this one: a number keeps its meaning as long as the connection lives (RFC 8285, section 6).
 */
export function reportingWhenAsked(sdp: string, before = ""): string {
  const taken = extensionsIn(sdp);
  if (taken.some(({ uri }) => uri === REQUEST)) return sdp;
  const spare = taken.find(({ uri }) => uri === SPARE)?.id;
  const free = Array.from({ length: ID_MAX }, (_, i) => i + 1).find((one) => !taken.some(({ id }) => id === one));
  const id = extensionsIn(before).find(({ uri }) => uri === REQUEST)?.id ?? free ?? spare;
  if (id === undefined || taken.some((one) => one.id === id && one.uri !== SPARE)) return sdp;
  return sdp.replace(LINE, (line, _, uri: string) => {
    if (uri === SPARE && spare === id) return "";
    return uri === NUMBERS ? `${line}a=extmap:${id} ${REQUEST}\r\n` : line;
  });
}

function extensionsIn(sdp: string): { readonly id: number; readonly uri: string | undefined }[] {
  return [...sdp.matchAll(LINE)].map(([, id, uri]) => ({ id: Number(id), uri }));
}
