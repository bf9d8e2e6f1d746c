// The signalling session: when to open the stream, resume it, wait, or give up. Pure: the shell carries out effects.

import { backoffMs, type Backoff } from "./backoff";
import type { FailureKind } from "./model";

/** The server sends something at least every 15 s; two missed heartbeats and a little mean that the stream is dead. */
export const WATCHDOG_MS = 35_000;

/** First wait 0.5 s at most, then up to 15 s: half of the 30 s in which the server keeps a session. */
export const RECONNECT: Backoff = { firstMs: 500, maxMs: 15_000 };

/** What is needed to resume, kept over a reload. */
export interface Cursor {
  readonly sessionId: string;
  readonly lastSeq: bigint;
}

export const NO_CURSOR: Cursor = { sessionId: "", lastSeq: 0n };

export type StopReason = "signed_out" | "taken_over";

export type Phase =
  | { readonly name: "idle" }
  /** The stream is being opened. */
  | { readonly name: "connecting" }
  /** SessionStarted has come. */
  | { readonly name: "open" }
  /** The next try is at the deadline. */
  | { readonly name: "waiting" }
  /** Only the person can go on from here. */
  | { readonly name: "stopped"; readonly why: StopReason };

export interface SessionState {
  readonly phase: Phase;
  readonly cursor: Cursor;
  /** Names the present stream; what an older one says is ignored. */
  readonly stream: number;
  /** Failed tries since the session was last open. */
  readonly attempt: number;
  /** Why the server gave no session the last time, in its own words; "" where it did not say. */
  readonly refusal: string;
  /** Milliseconds on the clock that events carry, and why. */
  readonly deadline: { readonly at: number; readonly reason: "retry" | "watchdog" } | null;
}

export type SessionEvent =
  | { readonly type: "start" }
  | { readonly type: "stop"; readonly why: StopReason }
  | { readonly type: "started"; readonly stream: number; readonly sessionId: string; readonly seq: bigint; readonly resumed: boolean }
  | { readonly type: "event"; readonly stream: number; readonly seq: bigint }
  | { readonly type: "heartbeat"; readonly stream: number }
  | { readonly type: "draining"; readonly stream: number; readonly retryAfterMs: number }
  | {
      readonly type: "closed";
      readonly stream: number;
      readonly failure: FailureKind | null;
      readonly takenOver: boolean;
      /** The server's sentence, if it has one. */
      readonly message?: string;
    }
  /** The deadline has passed. */
  | { readonly type: "timer" }
  /** The page was woken or the person asked: there is no point in waiting longer. */
  | { readonly type: "nudge" }
  /** The device has another network: a stream over the old one may be dead without saying so. */
  | { readonly type: "network_changed" };

export type SessionEffect =
  | { readonly type: "open"; readonly stream: number; readonly cursor: Cursor }
  | { readonly type: "abort"; readonly stream: number }
  | { readonly type: "save"; readonly cursor: Cursor }
  /** This event is the next one: hand it on. */
  | { readonly type: "deliver" }
  /** Whatever is held is out of date: load contacts and recent calls, and replace the calls by the snapshot. */
  | { readonly type: "resync"; readonly replace: boolean };

export interface Moment {
  readonly now: number;
  /** In [0, 1), fresh for each event. */
  readonly random: number;
}

export interface SessionStep {
  readonly state: SessionState;
  readonly effects: readonly SessionEffect[];
}

export function newSession(cursor: Cursor): SessionState {
  return { phase: { name: "idle" }, cursor, stream: 0, attempt: 0, refusal: "", deadline: null };
}

export function stepSession(state: SessionState, event: SessionEvent, moment: Moment): SessionStep {
  if ("stream" in event && event.stream !== state.stream) return { state, effects: [] };
  switch (event.type) {
    case "start":
      return isRunning(state) ? { state, effects: [] } : open({ ...state, attempt: 0 }, moment);
    case "stop":
      return stop(state, event.why);
    case "started":
      return started(state, event, moment);
    case "event":
      return delivered(state, event.seq, moment);
    case "heartbeat":
      return { state: watched(state, moment), effects: [] };
    case "draining":
      // At least what the server asked for, plus as much again at random: its clients must not move all at once.
      return retryAt(state, moment.now + Math.round(event.retryAfterMs * (1 + moment.random)));
    case "closed":
      return closed(state, event, moment);
    case "timer":
      return timer(state, moment);
    case "nudge":
      return state.phase.name === "waiting" ? open(state, moment) : { state, effects: [] };
    case "network_changed":
      return isRunning(state) ? reopen(state, moment) : { state, effects: [] };
  }
}

function isRunning(state: SessionState): boolean {
  return state.phase.name === "connecting" || state.phase.name === "open" || state.phase.name === "waiting";
}

function open(state: SessionState, { now }: Moment): SessionStep {
  const stream = state.stream + 1;
  return {
    state: { ...state, stream, phase: { name: "connecting" }, deadline: { at: now + WATCHDOG_MS, reason: "watchdog" } },
    effects: [{ type: "open", stream, cursor: state.cursor }],
  };
}

function reopen(state: SessionState, moment: Moment): SessionStep {
  const next = open(state, moment);
  return { state: next.state, effects: [{ type: "abort", stream: state.stream }, ...next.effects] };
}

function watched(state: SessionState, { now }: Moment): SessionState {
  return { ...state, deadline: { at: now + WATCHDOG_MS, reason: "watchdog" } };
}

function stop(state: SessionState, why: StopReason): SessionStep {
  const effects: SessionEffect[] = [{ type: "abort", stream: state.stream }];
  const cursor = why === "signed_out" ? NO_CURSOR : state.cursor;
  if (why === "signed_out") effects.push({ type: "save", cursor });
  // The next number, so that nothing the stopped stream still says is heard.
  return {
    state: { ...state, cursor, phase: { name: "stopped", why }, stream: state.stream + 1, deadline: null },
    effects,
  };
}

function started(
  state: SessionState,
  event: Extract<SessionEvent, { type: "started" }>,
  moment: Moment,
): SessionStep {
  const cursor = { sessionId: event.sessionId, lastSeq: event.seq };
  return {
    state: { ...watched(state, moment), phase: { name: "open" }, attempt: 0, refusal: "", cursor },
    // The snapshot first: what is saved with the cursor must be what the cursor stands for.
    effects: [{ type: "resync", replace: !event.resumed }, { type: "save", cursor }],
  };
}

function delivered(state: SessionState, seq: bigint, moment: Moment): SessionStep {
  const watching = watched(state, moment);
  if (seq <= state.cursor.lastSeq) return { state: watching, effects: [] };
  if (seq !== state.cursor.lastSeq + 1n) {
    // Something is missing and cannot be asked for again: only a new session with a full snapshot is right.
    return reopen({ ...state, cursor: NO_CURSOR }, moment);
  }
  const cursor = { ...state.cursor, lastSeq: seq };
  return { state: { ...watching, cursor }, effects: [{ type: "deliver" }, { type: "save", cursor }] };
}

function closed(state: SessionState, event: Extract<SessionEvent, { type: "closed" }>, moment: Moment): SessionStep {
  if (!isRunning(state) || state.phase.name === "waiting") return { state, effects: [] };
  if (event.takenOver) return stop(state, "taken_over");
  if (event.failure === "signed_out") return stop(state, "signed_out");
  // A resume that is refused outright would be refused again: start anew.
  const cursor = event.failure === "refused" ? NO_CURSOR : state.cursor;
  const refusal = event.failure === "refused" && state.phase.name === "connecting" ? (event.message ?? "") : "";
  const waitMs = backoffMs(RECONNECT, state.attempt, moment.random);
  return retryAt({ ...state, cursor, refusal, attempt: state.attempt + 1 }, moment.now + waitMs);
}

function retryAt(state: SessionState, at: number): SessionStep {
  return {
    state: { ...state, phase: { name: "waiting" }, deadline: { at, reason: "retry" } },
    effects: [{ type: "abort", stream: state.stream }],
  };
}

function timer(state: SessionState, moment: Moment): SessionStep {
  if (!state.deadline || moment.now < state.deadline.at) return { state, effects: [] };
  if (state.deadline.reason === "retry") return open(state, moment);
  const waitMs = backoffMs(RECONNECT, state.attempt, moment.random);
  return retryAt({ ...state, attempt: state.attempt + 1 }, moment.now + waitMs);
}
