// Runs the signalling session: carries out what core/session.ts says, and turns the stream into its events.

import type { Event as WireEvent } from "../gen/duocast/v1/call_pb";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Signal } from "../core/direct";
import type { Call, Contact } from "../core/model";
import type { CallRequest, PrivacySettings } from "../core/privacy";
import { newSession, stepSession, type Cursor, type SessionEffect, type SessionEvent, type SessionState } from "../core/session";
import type { Api } from "./api";
import { toCall, toContact, toFailure, toSignal } from "./wire";
import { toRequest, toSettings } from "./wireprivacy";

export interface SignallingEvents {
  /** `calls` is all there is if `replace`, else merely news. */
  onSnapshot(calls: readonly Call[], replace: boolean): void;
  onCall(call: Call): void;
  onContact(contact: Contact): void;
  onSignal(signal: Signal): void;
  onRequest(request: CallRequest): void;
  onSettings(settings: PrivacySettings): void;
  /** Contacts and recent calls may have changed unseen. */
  onResync(): void;
  /** How far the server's clock is ahead of this one. */
  onServerClock(aheadMs: number): void;
  onSave(cursor: Cursor): void;
  onPhase(): void;
}

export class Signalling {
  #state: SessionState;
  #timer = 0;
  #abort: AbortController | null = null;
  /** The event that is being stepped, for the effects that hand it on. */
  #incoming: WireEvent | null = null;

  constructor(
    readonly api: Api,
    readonly deviceId: string,
    readonly events: SignallingEvents,
    cursor: Cursor,
  ) {
    this.#state = newSession(cursor);
  }

  get state(): SessionState {
    return this.#state;
  }

  get sessionId(): string {
    return this.#state.cursor.sessionId;
  }

  handle(event: SessionEvent): void {
    const { state, effects } = stepSession(this.#state, event, { now: Date.now(), random: Math.random() });
    const moved = state.phase !== this.#state.phase;
    this.#state = state;
    for (const effect of effects) this.#carryOut(effect);
    this.#arm();
    if (moved) this.events.onPhase();
  }

  #carryOut(effect: SessionEffect): void {
    switch (effect.type) {
      case "open":
        void this.#run(effect.stream, effect.cursor);
        return;
      case "abort":
        this.#abort?.abort();
        this.#abort = null;
        return;
      case "save":
        this.events.onSave(effect.cursor);
        return;
      case "deliver":
        this.#deliver();
        return;
      case "resync":
        this.#snapshot(effect.replace);
        this.events.onResync();
        return;
    }
  }

  #arm(): void {
    window.clearTimeout(this.#timer);
    const deadline = this.#state.deadline;
    if (!deadline) return;
    this.#timer = window.setTimeout(() => this.handle({ type: "timer" }), Math.max(0, deadline.at - Date.now()));
  }

  async #run(stream: number, cursor: Cursor): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    try {
      for await (const event of this.api.subscribe(this.deviceId, cursor, abort.signal)) this.#receive(stream, event);
      this.handle({ type: "closed", stream, failure: null, takenOver: false });
    } catch (error) {
      const { kind, reason, message } = toFailure(error);
      this.handle({ type: "closed", stream, failure: kind, takenOver: reason === "SESSION_TAKEN_OVER", message });
    }
  }

  #receive(stream: number, event: WireEvent): void {
    if (event.at) this.events.onServerClock(timestampMs(event.at) - Date.now());
    this.#incoming = event;
    switch (event.kind.case) {
      case "sessionStarted": {
        const { sessionId, resumed } = event.kind.value;
        return this.handle({ type: "started", stream, sessionId, seq: event.seq, resumed });
      }
      case "heartbeat":
        return this.handle({ type: "heartbeat", stream });
      case "draining":
        return this.handle({ type: "draining", stream, retryAfterMs: event.kind.value.retryAfterMs });
      default:
        return this.handle({ type: "event", stream, seq: event.seq });
    }
  }

  #deliver(): void {
    const kind = this.#incoming?.kind;
    switch (kind?.case) {
      case "callUpdated":
        return kind.value.call && this.events.onCall(toCall(kind.value.call));
      case "contactUpdated":
        return kind.value.contact && this.events.onContact(toContact(kind.value.contact));
      case "directSignal": {
        const signal = toSignal(kind.value);
        return signal ? this.events.onSignal(signal) : undefined;
      }
      case "callRequestUpdated":
        return kind.value.request && this.events.onRequest(toRequest(kind.value.request));
      case "settingsUpdated":
        return kind.value.settings && this.events.onSettings(toSettings(kind.value.settings));
      default:
        return undefined;
    }
  }

  #snapshot(replace: boolean): void {
    const kind = this.#incoming?.kind;
    if (kind?.case === "sessionStarted") this.events.onSnapshot(kind.value.calls.map(toCall), replace);
  }
}
