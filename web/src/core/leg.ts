// One device's media path to the router: when to open it, restart ICE on it, or replace it. Pure: media.ts carries out.

import { backoffMs, type Backoff } from "./backoff";
import type { Failure } from "./model";

/** ICE often comes back from "disconnected" by itself. Lower restarts needlessly, higher prolongs the silence. */
export const DISCONNECTED_GRACE_MS = 2_000;

/** From the router's answer to connected. One round of ICE and DTLS takes well below 1 s; the server gives up at 30 s. */
export const CONNECT_TIMEOUT_MS = 8_000;

/**
 * Not connected this long after the answer, a leg gets the server's relay, which goes over TLS, and starts ICE again. UDP and TCP
 * are through in half of it on slow paths too. Lower costs paths that would have come up a second connection, higher is silence
 * where nothing but TLS gets through.
 */
export const RELAY_AFTER_MS = 1_200;

/** Wait before the next try when the server could not be asked. */
export const LEG_RETRY: Backoff = { firstMs: 500, maxMs: 4_000 };

/**
 * A leg that is not on UDP restarts ICE this long after it was found to be, to see whether UDP works again; each fruitless time doubles
 * the wait. A browser gives up on UDP by itself and never tries it again. Lower costs restarts, higher stays off UDP.
 */
export const UDP_AGAIN: Backoff = { firstMs: 20_000, maxMs: 600_000 };

/**
 * How long a "leg wanted" may be contradicted by a snapshot that is still on its way before it is believed, when a
 * leg was just made. Answers and events travel on different streams and may overtake each other.
 */
export const LEG_WANTED_SETTLE_MS = 400;

export type LegPhase =
  | "none"
  /** An offer is being made and answered. */
  | "offering"
  /** Answered; ICE and DTLS are on their way. */
  | "connecting"
  | "connected"
  /** Was connected, and nothing arrives. */
  | "interrupted"
  /** An ICE restart is being offered and answered. */
  | "restarting"
  /** The server could not be asked; the next try is at the deadline. */
  | "waiting"
  /** Refused for good: the call ends unless the server asks again. */
  | "refused";

export interface LegState {
  readonly phase: LegPhase;
  readonly callId: string | null;
  /** Names the present peer connection; what an older one says is ignored. */
  readonly generation: number;
  /** Known once the router has answered. */
  readonly legId: string;
  readonly attempt: number;
  /** Restarts in a row that were to bring the leg back to UDP. */
  readonly udpTries: number;
  /** The leg may use the server's relay: nothing else had got through. */
  readonly relayed: boolean;
  readonly deadline: { readonly at: number; readonly reason: "grace" | "relay" | "connect" | "retry" | "wanted" | "udp" } | null;
  readonly failure: Failure | null;
}

export type LegEvent =
  /** The call that needs a leg on this device, or null for none. */
  | { readonly type: "need"; readonly callId: string | null }
  /** A snapshot said whether this device must connect a leg. */
  | { readonly type: "wanted"; readonly wanted: boolean }
  | { readonly type: "answered"; readonly generation: number; readonly legId: string; readonly offersRelay: boolean }
  | { readonly type: "failed"; readonly generation: number; readonly failure: Failure }
  | { readonly type: "ice"; readonly generation: number; readonly state: IceState }
  /** What the connected leg's packets go over, by the browser's statistics. */
  | { readonly type: "transport"; readonly generation: number; readonly transport: LegTransport }
  | { readonly type: "network_changed" }
  | { readonly type: "timer" };

/** "tls": through the server's relay. */
export type LegTransport = "udp" | "tcp" | "tls";

export type IceState = "connected" | "disconnected" | "failed";

export type LegEffect =
  | { readonly type: "open"; readonly generation: number; readonly callId: string }
  | { readonly type: "restart"; readonly generation: number; readonly callId: string; readonly legId: string }
  | { readonly type: "close" };

export interface LegMoment {
  readonly now: number;
  readonly random: number;
}

export interface LegStep {
  readonly state: LegState;
  readonly effects: readonly LegEffect[];
}

export const NO_LEG: LegState = {
  phase: "none",
  callId: null,
  generation: 0,
  legId: "",
  attempt: 0,
  udpTries: 0,
  relayed: false,
  deadline: null,
  failure: null,
};

export function stepLeg(state: LegState, event: LegEvent, moment: LegMoment): LegStep {
  if ("generation" in event && event.generation !== state.generation) return { state, effects: [] };
  switch (event.type) {
    case "need":
      return need(state, event.callId);
    case "wanted":
      return wanted(state, event.wanted, moment);
    case "answered":
      return {
        state: {
          ...state,
          phase: "connecting",
          legId: event.legId,
          failure: null,
          deadline:
            event.offersRelay && !state.relayed
              ? { at: moment.now + RELAY_AFTER_MS, reason: "relay" }
              : { at: moment.now + CONNECT_TIMEOUT_MS, reason: "connect" },
        },
        effects: [],
      };
    case "failed":
      return failed(state, event.failure, moment);
    case "ice":
      return ice(state, event.state, moment);
    case "transport":
      return transport(state, event.transport, moment);
    case "network_changed":
      return state.phase === "connected" || state.phase === "interrupted" ? restart(state) : stay(state);
    case "timer":
      return timer(state, moment);
  }
}

function stay(state: LegState): LegStep {
  return { state, effects: [] };
}

function need(state: LegState, callId: string | null): LegStep {
  if (callId === state.callId) return stay(state);
  const close: LegEffect[] = state.callId === null ? [] : [{ type: "close" }];
  if (callId === null) {
    return { state: { ...NO_LEG, generation: state.generation + 1 }, effects: close };
  }
  const next = open({ ...state, callId, attempt: 0 });
  return { state: next.state, effects: [...close, ...next.effects] };
}

function open(state: LegState): LegStep {
  if (state.callId === null) return stay(state);
  const generation = state.generation + 1;
  return {
    state: { ...state, phase: "offering", generation, legId: "", deadline: null, failure: null },
    effects: [{ type: "open", generation, callId: state.callId }],
  };
}

function replace(state: LegState): LegStep {
  const next = open(state);
  return { state: next.state, effects: [{ type: "close" }, ...next.effects] };
}

function restart(state: LegState): LegStep {
  if (state.callId === null || state.legId === "") return replace(state);
  return {
    state: { ...state, phase: "restarting", deadline: null },
    effects: [{ type: "restart", generation: state.generation, callId: state.callId, legId: state.legId }],
  };
}

function wanted(state: LegState, isWanted: boolean, { now }: LegMoment): LegStep {
  if (!isWanted) {
    return state.deadline?.reason === "wanted" ? stay({ ...state, deadline: null }) : stay(state);
  }
  switch (state.phase) {
    case "connected":
    case "connecting":
      return stay({ ...state, deadline: { at: now + LEG_WANTED_SETTLE_MS, reason: "wanted" } });
    case "interrupted":
    case "refused":
      return replace({ ...state, attempt: 0 });
    default:
      return stay(state);
  }
}

function failed(state: LegState, failure: Failure, { now, random }: LegMoment): LegStep {
  if (failure.kind === "unreachable") {
    const at = now + backoffMs(LEG_RETRY, state.attempt, random);
    return stay({ ...state, phase: "waiting", attempt: state.attempt + 1, failure, deadline: { at, reason: "retry" } });
  }
  // The router no longer knows a leg that was to be restarted, or will not have it: a new one may still be had.
  if (state.phase === "restarting" && failure.kind === "refused") return replace(state);
  return { state: { ...state, phase: "refused", failure, deadline: null }, effects: [{ type: "close" }] };
}

function ice(state: LegState, iceState: IceState, { now }: LegMoment): LegStep {
  if (iceState === "connected") {
    if (state.phase !== "connecting" && state.phase !== "interrupted") return stay(state);
    return stay({ ...state, phase: "connected", attempt: 0, deadline: null });
  }
  if (state.phase === "connected" && iceState === "disconnected") {
    return stay({ ...state, phase: "interrupted", deadline: { at: now + DISCONNECTED_GRACE_MS, reason: "grace" } });
  }
  if (iceState === "failed" && (state.phase === "connected" || state.phase === "interrupted")) return restart(state);
  if (iceState === "failed" && state.phase === "connecting" && state.deadline?.reason !== "relay") {
    // Not at once: a path that fails at once would be tried in a tight loop.
    return stay({ ...state, deadline: { at: now + LEG_RETRY.firstMs, reason: "connect" } });
  }
  return stay(state);
}

function transport(state: LegState, over: LegTransport, { now }: LegMoment): LegStep {
  if (state.phase !== "connected") return stay(state);
  if (over === "udp") {
    if (state.udpTries === 0 && !state.relayed && state.deadline?.reason !== "udp") return stay(state);
    return stay({ ...state, udpTries: 0, relayed: false, deadline: state.deadline?.reason === "udp" ? null : state.deadline });
  }
  if (state.deadline) return stay(state);
  const wait = Math.min(UDP_AGAIN.maxMs, UDP_AGAIN.firstMs * 2 ** state.udpTries);
  return stay({ ...state, deadline: { at: now + wait, reason: "udp" } });
}

function timer(state: LegState, { now }: LegMoment): LegStep {
  if (!state.deadline || now < state.deadline.at) return stay(state);
  switch (state.deadline.reason) {
    case "grace":
      return restart(state);
    case "relay":
      return restart({ ...state, relayed: true });
    case "connect":
    case "wanted":
      return replace(state);
    case "udp":
      return restart({ ...state, udpTries: state.udpTries + 1 });
    case "retry":
      return state.legId === "" ? replace(state) : restart(state);
  }
}
