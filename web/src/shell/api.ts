// The server, as the rest of the client speaks to it: the client's nouns in, the client's nouns or a Failure out.

import { createClient, type Transport } from "@connectrpc/connect";
import { CallService, type Event as WireEvent } from "../gen/duocast/v1/call_pb";
import type { Step } from "../core/direct";
import type { Call, Contact, MediaState, Person } from "../core/model";
import type { Cursor } from "../core/session";
import { COMMAND_TIMEOUT_MS, RequestFailed, withRetry } from "./rpc";
import { toCall, toContact, toFailure, toPerson } from "./wire";

/** Recent calls loaded; older ones are not shown. */
const RECENTS_MAX = 50;

/** How to use the server's relay: TURN over TLS at the API's own host and port. */
export interface Relay {
  readonly username: string;
  readonly password: string;
}

export interface LegAnswer {
  readonly legId: string;
  readonly sdpAnswer: string;
  /** Unset: the server has no relay. */
  readonly relay?: Relay | undefined;
}

export class Api {
  readonly #client;

  constructor(transport: Transport) {
    this.#client = createClient(CallService, transport);
  }

  /** The events of this device's session. Ends or throws when the stream does; see `toFailure`. */
  subscribe(deviceId: string, cursor: Cursor, signal: AbortSignal): AsyncIterable<WireEvent> {
    return this.#client.subscribe({ deviceId, ...cursor }, { signal });
  }

  placeCall(sessionId: string, requestId: string, calleeHandle: string, video: boolean): Promise<Call> {
    return this.#call((options) => this.#client.placeCall({ sessionId, requestId, calleeHandle, video }, options));
  }

  acceptCall(sessionId: string, callId: string): Promise<Call> {
    return this.#call((options) => this.#client.acceptCall({ sessionId, callId }, options));
  }

  declineCall(sessionId: string, callId: string): Promise<Call> {
    return this.#call((options) => this.#client.declineCall({ sessionId, callId }, options));
  }

  hangUp(sessionId: string, callId: string): Promise<Call> {
    return this.#call((options) => this.#client.hangUp({ sessionId, callId }, options));
  }

  updateMedia(sessionId: string, callId: string, media: MediaState): Promise<Call> {
    return this.#call((options) => this.#client.updateMedia({ sessionId, callId, media }, options));
  }

  /** Says yes or no to a direct connection in this call. */
  setDirect(sessionId: string, callId: string, consent: boolean): Promise<Call> {
    return this.#call((options) => this.#client.setDirect({ sessionId, callId, consent }, options));
  }

  async sendDirect(sessionId: string, callId: string, attempt: number, step: Step): Promise<void> {
    const wire = "sdp" in step ? ({ case: step.kind, value: step.sdp } as const) : ({ case: step.kind, value: {} } as const);
    await withRetry((options) => this.#client.sendDirect({ sessionId, callId, attempt, step: wire }, options));
  }

  /** One try: the leg's own state machine decides about the next. */
  async connectLeg(sessionId: string, callId: string, legId: string, sdpOffer: string): Promise<LegAnswer> {
    try {
      return await this.#client.connectLeg(
        { sessionId, callId, legId, sdpOffer },
        { timeoutMs: COMMAND_TIMEOUT_MS },
      );
    } catch (error) {
      throw new RequestFailed(toFailure(error));
    }
  }

  async listCalls(): Promise<readonly Call[]> {
    const answer = await withRetry((options) => this.#client.listCalls({ pageSize: RECENTS_MAX }, options));
    return answer.calls.map(toCall);
  }

  async listContacts(): Promise<readonly Contact[]> {
    const answer = await withRetry((options) => this.#client.listContacts({}, options));
    return answer.contacts.map(toContact);
  }

  async getProfile(): Promise<Person> {
    const answer = await withRetry((options) => this.#client.getProfile({}, options));
    return toPerson(answer.person);
  }

  async #call(ask: (options: { timeoutMs: number }) => Promise<{ call?: Parameters<typeof toCall>[0] }>): Promise<Call> {
    const { call } = await withRetry(ask);
    if (!call) throw new RequestFailed({ kind: "refused", reason: "", message: "The server's answer has no call." });
    return toCall(call);
  }
}
