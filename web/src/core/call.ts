// The calls of this account as this device sees them, and what the person wants. Pure: the shell carries out effects.

import { isAnswered, isOver, isPending, type Call, type EndReason, type Failure, type MediaState, type Person } from "./model";

/** Ended calls that late answers could bring back to life. Higher costs a few bytes, lower risks a ghost call. */
export const FINISHED_MAX = 32;

/** A call being placed, until the server has answered. */
export interface Placing {
  readonly requestId: string;
  readonly peer: Person;
  readonly video: boolean;
  /** The person hung up before the server answered: the call is to be cancelled as soon as it has an id. */
  readonly cancelled: boolean;
}

/** Why a call is over, or never was. */
export type Ending =
  | { readonly type: "ended"; readonly reason: EndReason; readonly byMe: boolean }
  | { readonly type: "failed"; readonly failure: Failure }
  /** The session was lost and the call with it. */
  | { readonly type: "forgotten" };

/** What the screen after a call shows. */
export interface Ended {
  readonly peer: Person;
  readonly video: boolean;
  readonly role: "caller" | "callee";
  readonly durationMs: number | null;
  readonly ending: Ending;
}

/** The other party could be asked for permission to call. */
export function isAskable({ ending }: Ended): boolean {
  return ending.type === "failed" && ending.failure.reason === "REQUEST_NEEDED";
}

/** A short message about a call that needs no screen of its own. */
export type CallNotice =
  | { readonly type: "missed"; readonly peer: Person }
  | { readonly type: "answered_elsewhere"; readonly peer: Person }
  | { readonly type: "accept_failed"; readonly peer: Person; readonly failure: Failure };

export interface CallsState {
  /** Not ended, oldest first. */
  readonly calls: readonly Call[];
  readonly placing: Placing | null;
  /** The call that this device has asked to answer. */
  readonly accepting: string | null;
  /** Calls that this person has left, until the server confirms: they stay off the screen whatever it still says. */
  readonly leaving: readonly string[];
  readonly finished: readonly string[];
  readonly ended: Ended | null;
  /** What the person wants to send, and for which call that was decided. */
  readonly want: { readonly mic: boolean; readonly cam: boolean; readonly callId: string | null };
  /** What the devices really give; null while they are being opened, when there is nothing to tell yet. */
  readonly sending: MediaState | null;
  readonly reported: { readonly callId: string; readonly media: MediaState } | null;
}

export type CallEvent =
  | { readonly type: "snapshot"; readonly calls: readonly Call[]; readonly replace: boolean }
  | { readonly type: "updated"; readonly call: Call }
  | { readonly type: "place"; readonly requestId: string; readonly peer: Person; readonly video: boolean }
  | { readonly type: "placed"; readonly requestId: string; readonly call: Call }
  | { readonly type: "place_failed"; readonly requestId: string; readonly failure: Failure }
  | { readonly type: "accept"; readonly callId: string; readonly video: boolean }
  | { readonly type: "accept_failed"; readonly callId: string; readonly failure: Failure }
  /** Declines, cancels or hangs up, as the call stands. */
  | { readonly type: "leave"; readonly callId: string | null; readonly now: number }
  | { readonly type: "set_mic"; readonly on: boolean }
  | { readonly type: "set_cam"; readonly on: boolean }
  | { readonly type: "sending"; readonly media: MediaState | null }
  | { readonly type: "dismiss_ended" }
  | { readonly type: "clear" };

export type CallEffect =
  | { readonly type: "place"; readonly requestId: string; readonly handle: string; readonly video: boolean }
  | { readonly type: "accept"; readonly callId: string }
  | { readonly type: "decline"; readonly callId: string }
  | { readonly type: "hang_up"; readonly callId: string }
  | { readonly type: "report_media"; readonly callId: string; readonly media: MediaState }
  | { readonly type: "notice"; readonly notice: CallNotice }
  /** The list of recent calls has changed. */
  | { readonly type: "refresh_recents" };

export interface CallStep {
  readonly state: CallsState;
  readonly effects: readonly CallEffect[];
}

export const NO_CALLS: CallsState = {
  calls: [],
  placing: null,
  accepting: null,
  leaving: [],
  finished: [],
  ended: null,
  want: { mic: true, cam: false, callId: null },
  sending: null,
  reported: null,
};

// What follows from the state ---------------------------------------------------------------------------------------

/** The call that this device takes part in, or is about to. */
export function currentCall(state: CallsState): Call | null {
  const here = visible(state).filter((call) => takesPart(state, call));
  return here[here.length - 1] ?? null;
}

/** A call that merely rings is on this device too, but nobody takes part in it yet. */
function takesPart(state: CallsState, call: Call): boolean {
  return call.id === state.accepting || (call.onThisDevice && !(call.role === "callee" && isPending(call)));
}

/** The call that rings on this device and can be answered. */
export function incomingCall(state: CallsState): Call | null {
  const ringing = visible(state).filter(
    (call) => call.role === "callee" && isPending(call) && call.id !== state.accepting,
  );
  return ringing[0] ?? null;
}

export function ringtone(state: CallsState): "incoming" | "outgoing" | null {
  const current = currentCall(state);
  if (current) return current.role === "caller" && isPending(current) ? "outgoing" : null;
  if (state.placing) return null;
  return incomingCall(state) ? "incoming" : null;
}

/** What the media path of this device should be. */
export interface LegNeed {
  readonly callId: string;
  /** Answered on this device: only now may anything be captured by an incoming call, sent or played. */
  readonly live: boolean;
  /** The person has taken part (placed or accepted), so microphone and camera may be opened. */
  readonly engaged: boolean;
}

export function legNeed(state: CallsState): LegNeed | null {
  const current = currentCall(state);
  if (current) return { callId: current.id, live: current.onThisDevice && isAnswered(current), engaged: true };
  const incoming = incomingCall(state);
  return incoming ? { callId: incoming.id, live: false, engaged: false } : null;
}

function visible(state: CallsState): readonly Call[] {
  return state.calls.filter((call) => !state.leaving.includes(call.id));
}

// Steps -------------------------------------------------------------------------------------------------------------

export function stepCalls(state: CallsState, event: CallEvent): CallStep {
  const step = react(state, event);
  return withReport(step);
}

function react(state: CallsState, event: CallEvent): CallStep {
  switch (event.type) {
    case "snapshot":
      return snapshot(state, event.calls, event.replace);
    case "updated":
      return updated(state, event.call);
    case "place":
      return place(state, event);
    case "placed":
      return placed(state, event.requestId, event.call);
    case "place_failed":
      return placeFailed(state, event.requestId, event.failure);
    case "accept":
      return accept(state, event.callId, event.video);
    case "accept_failed":
      return acceptFailed(state, event.callId, event.failure);
    case "leave":
      return leave(state, event.callId, event.now);
    case "set_mic":
      return stay({ ...state, want: { ...state.want, mic: event.on } });
    case "set_cam":
      return stay({ ...state, want: { ...state.want, cam: event.on } });
    case "sending":
      return stay({ ...state, sending: event.media });
    case "dismiss_ended":
      return stay({ ...state, ended: null });
    case "clear":
      return stay(NO_CALLS);
  }
}

function stay(state: CallsState): CallStep {
  return { state, effects: [] };
}

/** Tells the other party what this one really sends, once for each change, from the answer on. */
function withReport({ state, effects }: CallStep): CallStep {
  const current = currentCall(state);
  if (!current || !current.onThisDevice || !isAnswered(current)) return { state, effects };
  const media = state.sending;
  if (!media) return { state, effects };
  const known = state.reported?.callId === current.id ? state.reported.media : current.own;
  if (known.audio === media.audio && known.video === media.video) return { state, effects };
  return {
    state: { ...state, reported: { callId: current.id, media } },
    effects: [...effects, { type: "report_media", callId: current.id, media }],
  };
}

function snapshot(state: CallsState, calls: readonly Call[], replace: boolean): CallStep {
  // A new session may be of a server that never heard what was told to the old one.
  let next: CallStep = stay(replace ? { ...state, reported: null } : state);
  for (const call of calls) next = then(next, (held) => updated(held, call, replace));
  if (!replace) return next;
  const told = new Set(calls.map((call) => call.id));
  for (const call of next.state.calls) {
    if (!told.has(call.id)) next = then(next, (held) => forget(held, call));
  }
  return next;
}

function then(step: CallStep, next: (state: CallsState) => CallStep): CallStep {
  const { state, effects } = next(step.state);
  return { state, effects: [...step.effects, ...effects] };
}

/** `replace`: what is held is out of date whatever its revision says; a server that was restarted may count anew. */
function updated(state: CallsState, call: Call, replace = false): CallStep {
  if (state.finished.includes(call.id)) return stay(state);
  const held = state.calls.find((one) => one.id === call.id);
  if (held && call.revision <= held.revision && !replace) return insist(state, held);
  if (isOver(call)) return over(state, call, held ?? null);
  const calls = held
    ? state.calls.map((one) => (one.id === call.id ? call : one))
    : [...state.calls, call];
  const accepting = state.accepting === call.id && call.onThisDevice && isAnswered(call) ? null : state.accepting;
  const next = restoreWant({ ...state, calls, accepting }, call);
  if (state.accepting === call.id && isAnswered(call) && !call.onThisDevice) {
    // Another device was faster; the server will say so in its answer too.
    return { state: { ...next, accepting: null }, effects: [{ type: "notice", notice: elsewhere(call) }] };
  }
  return insist(next, call);
}

/** Repeats the wish to leave a call that the server still carries: the first request may have been lost. */
function insist(state: CallsState, call: Call): CallStep {
  return state.leaving.includes(call.id)
    ? { state, effects: [{ type: "hang_up", callId: call.id }] }
    : stay(state);
}

/** After a reload nothing of the person's wishes is known but what the server holds: muted stays muted. */
function restoreWant(state: CallsState, call: Call): CallsState {
  if (!takesPart(state, call) || state.want.callId === call.id || state.placing) return state;
  const want = isAnswered(call)
    ? { mic: call.own.audio, cam: call.own.video, callId: call.id }
    : { mic: true, cam: call.video, callId: call.id };
  return { ...state, want };
}

function elsewhere(call: Call): CallNotice {
  return { type: "answered_elsewhere", peer: call.peer };
}

function over(state: CallsState, call: Call, held: Call | null): CallStep {
  const left = state.leaving.includes(call.id);
  // Without an older snapshot it is the answer to a call just placed, which was over at once.
  const wasMine = !left && (held ? takesPart(state, held) : call.onThisDevice && call.role === "caller");
  const effects: CallEffect[] = [{ type: "refresh_recents" }];
  let ended = state.ended;
  const gone = call.endReason ?? "unknown";
  if (state.accepting === call.id && gone === "answered_elsewhere") {
    effects.push({ type: "notice", notice: elsewhere(call) });
  } else if (wasMine) {
    ended = endedOf(call, { type: "ended", reason: gone, byMe: false }, durationOf(call, call.endedAt));
  } else if (!left && held && call.role === "callee" && isPending(held)) {
    const notice = unanswered(call, gone);
    if (notice) effects.push({ type: "notice", notice });
  }
  return { state: remove({ ...state, ended }, call.id), effects };
}

function unanswered(call: Call, reason: EndReason): CallNotice | null {
  if (reason === "answered_elsewhere") return elsewhere(call);
  return reason === "cancelled" || reason === "timed_out" ? { type: "missed", peer: call.peer } : null;
}

function remove(state: CallsState, callId: string): CallsState {
  return {
    ...state,
    calls: state.calls.filter((call) => call.id !== callId),
    accepting: state.accepting === callId ? null : state.accepting,
    leaving: state.leaving.filter((id) => id !== callId),
    finished: [...state.finished, callId].slice(-FINISHED_MAX),
  };
}

function forget(state: CallsState, call: Call): CallStep {
  const wasMine = currentCall(state)?.id === call.id;
  const ended = wasMine ? endedOf(call, { type: "forgotten" }, null) : state.ended;
  return { state: remove({ ...state, ended }, call.id), effects: [{ type: "refresh_recents" }] };
}

function place(state: CallsState, event: Extract<CallEvent, { type: "place" }>): CallStep {
  if (state.placing || currentCall(state)) return stay(state);
  const { requestId, peer, video } = event;
  return {
    state: {
      ...state,
      placing: { requestId, peer, video, cancelled: false },
      ended: null,
      want: { mic: true, cam: video, callId: null },
    },
    effects: [{ type: "place", requestId, handle: peer.handle, video }],
  };
}

function placed(state: CallsState, requestId: string, call: Call): CallStep {
  const placing = state.placing;
  if (placing?.requestId !== requestId) return stay(state);
  const taken = { ...state, placing: null, want: { ...state.want, callId: call.id } };
  const leaving = placing.cancelled && !isOver(call) ? [...taken.leaving, call.id] : taken.leaving;
  return updated({ ...taken, leaving }, { ...call, onThisDevice: true });
}

function placeFailed(state: CallsState, requestId: string, failure: Failure): CallStep {
  const placing = state.placing;
  if (placing?.requestId !== requestId) return stay(state);
  const ended: Ended | null = placing.cancelled
    ? null
    : { peer: placing.peer, video: placing.video, role: "caller", durationMs: null, ending: { type: "failed", failure } };
  return stay({ ...state, placing: null, ended });
}

function accept(state: CallsState, callId: string, video: boolean): CallStep {
  const call = visible(state).find((one) => one.id === callId);
  if (!call || !isPending(call) || call.role !== "callee" || state.accepting) return stay(state);
  return {
    state: { ...state, accepting: callId, ended: null, want: { mic: true, cam: video, callId } },
    effects: [{ type: "accept", callId }],
  };
}

function acceptFailed(state: CallsState, callId: string, failure: Failure): CallStep {
  const call = state.calls.find((one) => one.id === callId);
  if (state.accepting !== callId || !call) return stay(state);
  const notice: CallNotice =
    failure.reason === "ANSWERED_ELSEWHERE"
      ? elsewhere(call)
      : { type: "accept_failed", peer: call.peer, failure };
  // Where the server could not be asked the call may ring on: the person can try again.
  const next = failure.kind === "refused" ? remove(state, callId) : { ...state, accepting: null };
  return { state: next, effects: [{ type: "notice", notice }] };
}

function leave(state: CallsState, callId: string | null, now: number): CallStep {
  if (callId === null) {
    // The call is not known to the server yet.
    return stay(state.placing ? { ...state, placing: { ...state.placing, cancelled: true } } : state);
  }
  const call = visible(state).find((one) => one.id === callId);
  if (!call) return stay(state);
  const declines = call.role === "callee" && isPending(call) && state.accepting !== callId;
  const ended = declines
    ? state.ended
    : endedOf(call, { type: "ended", reason: isPending(call) ? "cancelled" : "hung_up", byMe: true }, durationOf(call, now));
  return {
    state: {
      ...state,
      ended,
      accepting: state.accepting === callId ? null : state.accepting,
      leaving: [...state.leaving, callId],
    },
    effects: [declines ? { type: "decline", callId } : { type: "hang_up", callId }],
  };
}

function durationOf(call: Call, until: number | null): number | null {
  return call.acceptedAt !== null && until !== null ? Math.max(0, until - call.acceptedAt) : null;
}

function endedOf(call: Call, ending: Ending, durationMs: number | null): Ended {
  return { peer: call.peer, video: call.video, role: call.role, durationMs, ending };
}
