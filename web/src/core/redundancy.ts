// Whether each packet of sound carries the one before as well (RFC 2198), from what the other end reports as lost. What gets lost
// beyond the router is the router's to make up for.

/** From this share of lost packets on: of two hops each has half of what is lost. Higher leaves gaps to concealment, lower sends twice what was not missed. */
export const LOSSY_FROM = 0.012;

/** It ends when less than this was lost for so long. Longer pays for longer, shorter comes and goes where loss does. */
export const CLEAN_BELOW = 0.008;
export const CLEAN_MS = 20_000;

export interface Redundancy {
  readonly on: boolean;
  /** Since when next to nothing gets lost. */
  readonly cleanSinceMs: number | null;
}

export const NO_REDUNDANCY: Redundancy = { on: false, cleanSinceMs: null };

/** `loss` is what was reported last, 0 to 1; null while nothing was. */
export function stepRedundancy(state: Redundancy, loss: number | null, nowMs: number): Redundancy {
  if (loss === null) return state;
  const cleanSinceMs = loss < CLEAN_BELOW ? (state.cleanSinceMs ?? nowMs) : null;
  const isClean = cleanSinceMs !== null && nowMs - cleanSinceMs >= CLEAN_MS;
  return { on: loss >= LOSSY_FROM || (state.on && !isClean), cleanSinceMs };
}

/**
 * The other end's description with redundant sound before plain one, or after it; as it is if it has none. Browsers send what comes
 * first. Chromium counts redundant sound as a form of plain one and no codec to be chosen: its senders' parameters take the choice,
 * and change nothing. `repeats`: what no packet brings is asked for; then Opus need not spend a third of its bits on repetitions of its own
 * (in-band FEC).
 */
export function soundOrdered(sdp: string, redundant: boolean, repeats: boolean): string {
  return sdp.replace(/^m=audio[^]*?(?=^m=|(?![^]))/m, (sound) => {
    const [, red] = /^a=rtpmap:(\d+) red\//im.exec(sound) ?? [];
    const [, opus] = /^a=rtpmap:(\d+) opus\//im.exec(sound) ?? [];
    if (!red || !opus) return sound;
    const ordered = sound.replace(/^(m=audio \S+ \S+)(.*)/, (_, head: string, types: string) => {
      const others = types.trim().split(" ").filter((type) => type !== red);
      const at = others.indexOf(opus);
      return [head, ...others.slice(0, at), ...(redundant ? [red, opus] : [opus, red]), ...others.slice(at + 1)].join(" ");
    });
    const fec = new RegExp(`^(a=fmtp:${opus} .*useinbandfec=)[01]`, "m");
    return repeats ? ordered.replace(fec, `$1${redundant ? 0 : 1}`) : ordered;
  });
}

/** Our offer, which says that lost sound is sent again if the router asks for it: what carries the one before makes up for one loss, and not for two in a row. */
export function repeatingSound(sdp: string): string {
  return sdp.replace(/^a=rtpmap:(\d+) opus\/.*$/m, (line, opus: string) => `${line}\r\na=rtcp-fb:${opus} nack`);
}

/**
 * The router's answer to that without its yes, and whether it said so. Browsers send lost sound again whether or not it was agreed on. Chromium, told so,
 * asks for what it misses itself as well, and makes up 1.8 % of the sound where 5 % gets lost and comes redundant; untold it makes up none.
 */
export function agreedToRepeat(sdp: string): { sdp: string; repeats: boolean } {
  const [, opus] = /^a=rtpmap:(\d+) opus\//m.exec(sdp) ?? [];
  const without = opus ? sdp.replace(new RegExp(`^a=rtcp-fb:${opus} nack\r?\n`, "m"), "") : sdp;
  return { sdp: without, repeats: without !== sdp };
}

/** The other end's offer as if it had answered ours with the same; an answer as it is. Who answered connected: the other end waits. */
export function asAnswer(sdp: string): string {
  return sdp.replace(/^a=setup:actpass/gm, "a=setup:passive");
}
