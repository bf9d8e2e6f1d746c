// The direct connection of a call: when to try one, what is sent on which path, which path is played, when to go back.
// Pure: shell/direct.ts carries out.
//
// The path through the router stays connected all the time. Whatever fails, at whichever step, ends in sending on it.

import type { DirectState, MediaState } from "./model";

/** From the start of an attempt to its media. The server gives up after 12 s; this is for when it cannot be heard. */
export const SETUP_MS_MAX = 14_000;

/**
 * How long the direct path outlives "go private": the other side's way back to the router. Nothing may go to its address later than
 * 300 ms after the click, and a page on a busy machine is late by 100 ms and more. Higher breaks that, lower leaves a gap in
 * the sound where the way to the other side takes longer than 40 ms.
 */
export const OWN_LEAVE_MS_MAX = 150;

/** The same after the other side went private or a path died: nobody waits for silence on our side. */
export const PEER_LEAVE_MS_MAX = 500;

/** A direct path on which expected sound is silent for this long is dead. Lower takes a stutter for a death. */
export const DEAD_AFTER_MS = 1_000;

/** Media this old is still "arriving": a few packets may be late. Higher prolongs the gap when a path falls silent. */
export const FRESH_MS = { audio: 120, video: 400 } as const;

/**
 * What is to be played next must have come without a break for this long. A jitter buffer that has just begun makes up
 * 30-100 ms of sound, and after the first picture of a new path the next one may take 300 ms, as the bandwidth is not known
 * yet. The direct path can take its time, because the other one goes on; on the way back the direct one may be gone
 * after OWN_LEAVE_MS_MAX.
 */
export const WARM_MS = { direct: { audio: 300, video: 400 }, routed: { audio: 60, video: 0 } } as const;

/** A break: media that comes later than this after what came before. */
export const BREAK_MS = { audio: 120, video: 150 } as const;

/**
 * The picture follows the sound onto the direct path after this long. Encoding it twice is what an attempt costs most, and
 * on a slow machine that is heard; lower makes it last longer, higher delays the switch.
 */
export const PICTURE_AFTER_MS = 200;

/** How long "I decode you" waits for the picture once there is sound. Higher delays the switch, lower may cost pictures. */
export const PICTURE_PATIENCE_MS = 1_500;

/** The routed path has fallen silent after the switch; what arrives on it later is the other side's return. */
export const QUIET_MS = 300;

/** After each return that was none, twice as long, up to this: a way that is full has late packets again and again. Higher answers a real return late. */
export const QUIET_MS_MAX = 10_000;

/**
 * For so long what arrives on the routed path is taken for the other side's return without the server's word for it. A few packets that
 * were late look the same, and answered by both sides they would have both send on both paths for ever. Higher wastes bits
 * after such, lower leaves a gap where the server's word takes as long.
 */
export const RETURN_MS_MAX = 2_000;

export type Path = "routed" | "direct";
export type MediaKind = "audio" | "video";

/** One step of the other side. */
export type Signal =
  | { readonly callId: string; readonly attempt: number; readonly kind: "offer" | "answer"; readonly sdp: string }
  | { readonly callId: string; readonly attempt: number; readonly kind: "candidates"; readonly candidates: readonly string[] };

export type Stage =
  /** Offers, candidates, ICE, DTLS. */
  | "setup"
  /** Connected: media on both paths until each side decodes the direct one. */
  | "both"
  | "active"
  /** Back to the router: the direct path lasts until the routed one is decoded, or until its time is over. */
  | "leaving";

export interface Attempt {
  readonly number: number;
  readonly stage: Stage;
  /** When the stage began. */
  readonly since: number;
  /** When it must be over; null for none. */
  readonly until: number | null;
  /** The picture is sent on the direct path, too. */
  readonly picture: boolean;
  /** Sound was decoded on the direct path for the first time. */
  readonly audioAt: number | null;
  readonly toldDecoding: boolean;
  /** Nothing arrives on the routed path any more. */
  readonly quiet: boolean;
  /** How long nothing must have arrived there for that. */
  readonly quietMs: number;
  /** Since when the other side sends on the routed path again, whatever the server has said so far; null if it does not. */
  readonly returnedAt: number | null;
}

export interface DirectCore {
  readonly callId: string | null;
  readonly view: DirectState | null;
  readonly attempt: Attempt | null;
  /** The attempt that is over on this page, though the server may still speak of it; 0 for none. */
  readonly done: number;
  /** What the other side says that it sends, and since when it says so of its sound. */
  readonly peer: MediaState & { readonly audioSince: number };
  /** When media was last decoded. */
  readonly heard: Readonly<Record<Path, Readonly<Record<MediaKind, number>>>>;
  /** Since when it comes without a break. */
  readonly steady: Readonly<Record<Path, Readonly<Record<MediaKind, number>>>>;
  readonly plays: Readonly<Record<MediaKind, Path>>;
}

export type DirectEvent =
  /** News of the call on this device; a null `callId` for no answered call. */
  | { readonly type: "call"; readonly callId: string | null; readonly view: DirectState | null; readonly peerMedia: MediaState }
  | { readonly type: "signal"; readonly signal: Signal }
  /** The own description with its candidates is there. */
  | { readonly type: "described"; readonly attempt: number; readonly sdp: string }
  | { readonly type: "connected"; readonly attempt: number }
  /** The connection failed or died, or a step could not be done. */
  | { readonly type: "broken"; readonly attempt: number }
  /** What was decoded since the last such event. The shell looks every few milliseconds while there is an attempt. */
  | { readonly type: "heard"; readonly routed: MediaState; readonly direct: MediaState }
  | { readonly type: "go_private" }
  | { readonly type: "timer" };

export type Step =
  | { readonly kind: "offer" | "answer"; readonly sdp: string }
  | { readonly kind: "decoding" | "failed" };

export type DirectEffect =
  /** Make a connection and its offer, or the answer to `offer`. */
  | { readonly type: "open"; readonly attempt: number; readonly offer: string | null }
  | { readonly type: "answer"; readonly attempt: number; readonly sdp: string }
  | { readonly type: "candidates"; readonly attempt: number; readonly candidates: readonly string[] }
  | { readonly type: "tell"; readonly attempt: number; readonly step: Step }
  | { readonly type: "close"; readonly attempt: number };

export interface DirectStep {
  readonly state: DirectCore;
  readonly effects: readonly DirectEffect[];
}

const NEVER = Number.NEGATIVE_INFINITY;

export const NO_DIRECT: DirectCore = {
  callId: null,
  view: null,
  attempt: null,
  done: 0,
  peer: { audio: true, video: false, audioSince: 0 },
  heard: { routed: { audio: NEVER, video: NEVER }, direct: { audio: NEVER, video: NEVER } },
  steady: { routed: { audio: NEVER, video: NEVER }, direct: { audio: NEVER, video: NEVER } },
  plays: { audio: "routed", video: "routed" },
};

/** What this device sends on each path. Through the router whenever there is any doubt about the direct one. */
export function sends({ attempt }: DirectCore): Readonly<Record<Path, MediaState>> {
  if (!attempt || attempt.stage === "setup") return { routed: ALL, direct: NOTHING };
  return { routed: attempt.stage !== "active" || attempt.returnedAt !== null ? ALL : NOTHING, direct: attempt.picture ? ALL : SOUND };
}

const ALL: MediaState = { audio: true, video: true };
const SOUND: MediaState = { audio: true, video: false };
const NOTHING: MediaState = { audio: false, video: false };

/** When "timer" is due; null for never. */
export function deadline(state: DirectCore): number | null {
  return state.attempt?.until ?? null;
}

export function stepDirect(state: DirectCore, event: DirectEvent, now: number): DirectStep {
  switch (event.type) {
    case "call":
      return news(state, event, now);
    case "signal":
      return signal(state, event.signal, now);
    case "described":
      return described(state, event.attempt, event.sdp);
    case "connected":
      return connected(state, event.attempt, now);
    case "broken":
      return state.attempt?.number === event.attempt ? broken(state, state.attempt, now) : stay(state);
    case "heard":
      return heard(state, event, now);
    case "go_private":
      return goPrivate(state, now);
    case "timer":
      return timer(state, now);
  }
}

function stay(state: DirectCore): DirectStep {
  return { state, effects: [] };
}

function then(step: DirectStep, next: (state: DirectCore) => DirectStep): DirectStep {
  const { state, effects } = next(step.state);
  return { state, effects: [...step.effects, ...effects] };
}

// What the server says ----------------------------------------------------------------------------------------------

function news(state: DirectCore, event: Extract<DirectEvent, { type: "call" }>, now: number): DirectStep {
  const { callId, view, peerMedia } = event;
  if (callId !== state.callId) {
    const fresh = { ...NO_DIRECT, callId };
    return then({ state: fresh, effects: end(state).effects }, (next) => (callId === null ? stay(next) : news(next, event, now)));
  }
  const audioSince = peerMedia.audio && !state.peer.audio ? now : state.peer.audioSince;
  const next = { ...state, view, peer: { ...peerMedia, audioSince } };
  return view === state.view ? stay(next) : follow(next, view, now);
}

function follow(state: DirectCore, view: DirectState | null, now: number): DirectStep {
  const { attempt, done } = state;
  if (!view || view.phase === "routed") {
    // From here on the next attempt may have any number: a server that was restarted counts anew.
    const over = { ...state, done: view?.attempt ?? 0 };
    return attempt ? leave(over, attempt, view?.own === "given" ? PEER_LEAVE_MS_MAX : OWN_LEAVE_MS_MAX, now) : stay(over);
  }
  // The same number again after the way back: a server that was restarted, and this is its first attempt.
  const another = attempt?.stage === "leaving" && view.phase === "negotiating" && done !== view.attempt;
  if (attempt && (another || attempt.number !== view.attempt)) return then(end(state), (next) => follow(next, view, now));
  if (attempt) return view.phase === "active" && attempt.stage === "both" ? stay(settle(state, attempt, now)) : stay(state);
  if (done === view.attempt) return stay(state);
  if (view.phase === "negotiating") return view.offerer ? begin(state, view.attempt, null, now) : stay(state);
  // The connection of this attempt was lost with the page that held it.
  return { state: { ...state, done: view.attempt }, effects: [{ type: "tell", attempt: view.attempt, step: { kind: "failed" } }] };
}

function settle(state: DirectCore, attempt: Attempt, now: number): DirectCore {
  return { ...state, attempt: { ...attempt, stage: "active", since: now, until: null, picture: true } };
}

function begin(state: DirectCore, number: number, offer: string | null, now: number): DirectStep {
  const attempt: Attempt = {
    number,
    stage: "setup",
    since: now,
    until: now + SETUP_MS_MAX,
    picture: false,
    audioAt: null,
    toldDecoding: false,
    quiet: false,
    quietMs: QUIET_MS,
    returnedAt: null,
  };
  return {
    state: {
      ...state,
      attempt,
      heard: { ...state.heard, direct: NO_DIRECT.heard.direct },
      steady: { ...state.steady, direct: NO_DIRECT.steady.direct },
    },
    effects: [{ type: "open", attempt: number, offer }],
  };
}

function signal(state: DirectCore, event: Signal, now: number): DirectStep {
  const { view, attempt } = state;
  if (event.callId !== state.callId || view?.attempt !== event.attempt || state.done === event.attempt) return stay(state);
  if (event.kind === "offer") {
    // Who offers has an attempt already.
    const expected = !attempt && view.phase !== "routed";
    return expected ? begin(state, event.attempt, event.sdp, now) : stay(state);
  }
  if (attempt?.number !== event.attempt || attempt.stage !== "setup") return stay(state);
  const about = { attempt: event.attempt };
  if (event.kind === "candidates") {
    return { state, effects: [{ type: "candidates", ...about, candidates: event.candidates }] };
  }
  return view.offerer ? { state, effects: [{ type: "answer", ...about, sdp: event.sdp }] } : stay(state);
}

// What the connection does ------------------------------------------------------------------------------------------

function described(state: DirectCore, number: number, sdp: string): DirectStep {
  const { attempt, view } = state;
  if (attempt?.number !== number || attempt.stage !== "setup" || !view) return stay(state);
  return { state, effects: [{ type: "tell", attempt: number, step: { kind: view.offerer ? "offer" : "answer", sdp } }] };
}

function connected(state: DirectCore, number: number, now: number): DirectStep {
  const { attempt } = state;
  if (attempt?.number !== number || attempt.stage !== "setup") return stay(state);
  return stay({ ...state, attempt: { ...attempt, stage: "both", since: now } });
}

function broken(state: DirectCore, attempt: Attempt, now: number): DirectStep {
  // On the way back already: there is nothing left to wait for.
  if (attempt.stage === "leaving") return end(state);
  const told: DirectStep = {
    state: { ...state, done: attempt.number },
    effects: [{ type: "tell", attempt: attempt.number, step: { kind: "failed" } }],
  };
  return then(told, (next) => leave(next, attempt, PEER_LEAVE_MS_MAX, now));
}

function goPrivate(state: DirectCore, now: number): DirectStep {
  const over = { ...state, done: state.view?.attempt ?? 0 };
  return state.attempt ? leave(over, state.attempt, OWN_LEAVE_MS_MAX, now) : stay(over);
}

/** Sends on the router's path from now on, and closes the direct one as soon as it is not needed. */
function leave(state: DirectCore, attempt: Attempt, forMs: number, now: number): DirectStep {
  if (attempt.stage === "setup") return end(state);
  const until = now + forMs;
  if (attempt.stage === "leaving") {
    return stay({ ...state, attempt: { ...attempt, until: Math.min(attempt.until ?? until, until) } });
  }
  return stay({ ...state, attempt: { ...attempt, stage: "leaving", since: now, until } });
}

function end(state: DirectCore): DirectStep {
  if (!state.attempt) return stay(state);
  const { number } = state.attempt;
  return {
    state: { ...state, attempt: null, plays: NO_DIRECT.plays },
    effects: [{ type: "close", attempt: number }],
  };
}

function timer(state: DirectCore, now: number): DirectStep {
  const { attempt } = state;
  if (!attempt || attempt.until === null || now < attempt.until) return stay(state);
  return attempt.stage === "leaving" ? end(state) : broken(state, attempt, now);
}

// What is decoded ---------------------------------------------------------------------------------------------------

function heard(state: DirectCore, event: Extract<DirectEvent, { type: "heard" }>, now: number): DirectStep {
  if (!state.attempt || state.attempt.stage === "setup") return stay(state);
  const at = (path: Path): Record<MediaKind, number> => ({
    audio: event[path].audio ? now : state.heard[path].audio,
    video: event[path].video ? now : state.heard[path].video,
  });
  const since = (path: Path, kind: MediaKind): number => {
    const broke = now - state.heard[path][kind] > BREAK_MS[kind];
    return event[path][kind] && broke ? now : state.steady[path][kind];
  };
  const steady = (path: Path): Record<MediaKind, number> => ({ audio: since(path, "audio"), video: since(path, "video") });
  const next = {
    ...state,
    heard: { routed: at("routed"), direct: at("direct") },
    steady: { routed: steady("routed"), direct: steady("direct") },
  };
  const step = react(next, state.attempt, now);
  return { state: { ...step.state, plays: choose(step.state, now) }, effects: step.effects };
}

function react(state: DirectCore, attempt: Attempt, now: number): DirectStep {
  switch (attempt.stage) {
    case "setup":
      return stay(state);
    case "both":
      return decoding(state, attempt, now);
    case "active":
      return isDead(state, attempt, now) ? broken(state, attempt, now) : stay({ ...state, attempt: watchReturn(state, attempt, now) });
    case "leaving":
      return caughtUp(state, attempt, now) ? end(state) : stay(state);
  }
}

/** Says once that the other side is decoded on the direct path: its sound, and its picture if that comes soon. */
function decoding(state: DirectCore, attempt: Attempt, now: number): DirectStep {
  const { peer } = state;
  const audio = isWarm(state, "direct", "audio", now) || !peer.audio;
  const video = isWarm(state, "direct", "video", now) || !peer.video;
  const picture = attempt.picture || now - attempt.since >= PICTURE_AFTER_MS;
  const audioAt = attempt.audioAt ?? (audio ? now : null);
  const patience = audioAt !== null && peer.audio && now - audioAt >= PICTURE_PATIENCE_MS;
  const ready = audio && (video || patience) && !attempt.toldDecoding;
  return {
    state: { ...state, attempt: { ...attempt, picture, audioAt, toldDecoding: attempt.toldDecoding || ready } },
    effects: ready ? [{ type: "tell", attempt: attempt.number, step: { kind: "decoding" } }] : [],
  };
}

/** Only sound tells: a picture may rest, and somebody who sends neither is watched by ICE. */
function isDead({ heard: { direct }, peer }: DirectCore, attempt: Attempt, now: number): boolean {
  return peer.audio && now - Math.max(direct.audio, attempt.since, peer.audioSince) > DEAD_AFTER_MS;
}

function watchReturn({ heard: { routed, direct } }: DirectCore, attempt: Attempt, now: number): Attempt {
  const silentMs = now - Math.max(routed.audio, routed.video, attempt.since);
  const quiet = attempt.quiet || silentMs > attempt.quietMs;
  if (silentMs > QUIET_MS) return quiet === attempt.quiet && attempt.returnedAt === null ? attempt : { ...attempt, quiet, returnedAt: null };
  // Who is gone from the direct path has returned, whatever the server says or cannot say.
  const isHere = now - direct.audio <= FRESH_MS.audio || now - direct.video <= FRESH_MS.video;
  if (attempt.returnedAt !== null && isHere && now - attempt.returnedAt >= RETURN_MS_MAX) {
    return { ...attempt, quiet: false, quietMs: Math.min(2 * attempt.quietMs, QUIET_MS_MAX), returnedAt: null };
  }
  return quiet && attempt.returnedAt === null && silentMs < QUIET_MS ? { ...attempt, quiet, returnedAt: now } : attempt;
}

function isWarm({ heard, steady }: DirectCore, path: Path, kind: MediaKind, now: number): boolean {
  return now - heard[path][kind] <= FRESH_MS[kind] && now - steady[path][kind] >= WARM_MS[path][kind];
}

/** What the routed path showed last is from before the direct one, or nearly. */
export function isPictureOld({ heard: { routed } }: DirectCore, now: number): boolean {
  return now - routed.video > BREAK_MS.video;
}

/** The routed path is decoded again since the way back began. */
function caughtUp(state: DirectCore, attempt: Attempt, now: number): boolean {
  const { heard: { routed }, peer } = state;
  const back = (kind: MediaKind): boolean => routed[kind] > attempt.since && isWarm(state, "routed", kind, now);
  return (back("audio") || !peer.audio) && (back("video") || !peer.video);
}

/** The path that is meant, as soon as it decodes; another one only while the path that is meant is silent. */
function choose(state: DirectCore, now: number): Readonly<Record<MediaKind, Path>> {
  const { attempt, plays } = state;
  if (!attempt) return NO_DIRECT.plays;
  const meant: Path = (attempt.stage === "both" || attempt.stage === "active") && attempt.returnedAt === null ? "direct" : "routed";
  const pick = (kind: MediaKind): Path => {
    const fresh = (path: Path): boolean => now - state.heard[path][kind] <= FRESH_MS[kind];
    const other: Path = meant === "direct" ? "routed" : "direct";
    const ready = plays[kind] === meant || isWarm(state, meant, kind, now) || !fresh(other);
    if (fresh(meant) && ready) return meant;
    return fresh(other) ? other : plays[kind];
  };
  const next = { audio: pick("audio"), video: pick("video") };
  return next.audio === plays.audio && next.video === plays.video ? plays : next;
}
