// How long it takes from the answer to the first sound and the first picture, for the tests and for bug reports.

import type { Leg } from "./leg";

/** How often it is looked. Finer costs CPU just when media starts, coarser blurs the figure. */
const LOOK_EVERY_MS = 5;
/** A picture may come much later, or never in an audio call: after this long nobody looks any more. */
const LOOK_FOR_MS = 10_000;

export interface FirstMedia {
  /** The leg was connected before the answer. */
  readonly prepared: boolean;
  /** From the accept click (callee) or the ACCEPTED event (caller) to the first decoded sound; null until then. */
  readonly audioMs: number | null;
  readonly videoMs: number | null;
}

/** Watches one leg from now, the moment of the answer, until the returned function is called or media has come. */
export function watchFirstMedia(leg: Leg, acceptedAtMs: number, onChange: (seen: FirstMedia) => void): () => void {
  let seen: FirstMedia = { prepared: leg.connection.connectionState === "connected", audioMs: null, videoMs: null };
  onChange(seen);
  const timer = window.setInterval(() => {
    const audioMs = seen.audioMs ?? sinceAccept(leg.lines.audio.receiver, acceptedAtMs);
    const videoMs = seen.videoMs ?? sinceAccept(leg.lines.video.receiver, acceptedAtMs);
    if (audioMs !== seen.audioMs || videoMs !== seen.videoMs) onChange((seen = { ...seen, audioMs, videoMs }));
    const late = performance.now() - acceptedAtMs > LOOK_FOR_MS;
    if (late || (audioMs !== null && videoMs !== null)) window.clearInterval(timer);
  }, LOOK_EVERY_MS);
  return () => window.clearInterval(timer);
}

/**
 * A source is listed once media of it was decoded and handed on to be played (WebRTC, 5.5): for sound it has left the
 * jitter buffer.
 */
function sinceAccept(receiver: RTCRtpReceiver, acceptedAtMs: number): number | null {
  return receiver.getSynchronizationSources().length > 0 ? performance.now() - acceptedAtMs : null;
}
