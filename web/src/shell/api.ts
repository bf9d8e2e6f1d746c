// The server, as the rest of the client speaks to it: the client's nouns in, the client's nouns or a Failure out.

import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { CallService, type Event as WireEvent } from "../gen/duocast/v1/call_pb";
import { backoffMs, type Backoff } from "../core/backoff";
import type { Call, Contact, Failure, MediaState, Profile } from "../core/model";
import type { Cursor } from "../core/session";
import { toCall, toContact, toFailure, toPerson } from "./wire";

/** After this long without an answer a command counts as not answered. The server's own work takes milliseconds. */
const COMMAND_TIMEOUT_MS = 8_000;

/** Every command is idempotent. More tries ride out a longer restart, fewer tell the person sooner. */
const COMMAND_TRIES_MAX = 3;
const COMMAND_RETRY: Backoff = { firstMs: 300, maxMs: 1_200 };

/** Recent calls loaded; older ones are not shown. */
const RECENTS_MAX = 50;

export class RequestFailed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.reason || failure.kind);
  }
}

export interface LegAnswer {
  readonly legId: string;
  readonly sdpAnswer: string;
}

export class Api {
  readonly #client;

  constructor(baseUrl: string, token: () => string) {
    const authorize: Interceptor = (next) => (request) => {
      request.header.set("authorization", `Bearer ${token()}`);
      return next(request);
    };
    this.#client = createClient(CallService, createGrpcWebTransport({ baseUrl, interceptors: [authorize] }));
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
    const answer = await this.#retry((options) => this.#client.listCalls({ pageSize: RECENTS_MAX }, options));
    return answer.calls.map(toCall);
  }

  async listContacts(): Promise<readonly Contact[]> {
    const answer = await this.#retry((options) => this.#client.listContacts({}, options));
    return answer.contacts.map(toContact);
  }

  async getProfile(): Promise<Profile> {
    const answer = await this.#retry((options) => this.#client.getProfile({}, options));
    return { person: toPerson(answer.person), callingEnabled: answer.callingEnabled };
  }

  async #call(ask: (options: { timeoutMs: number }) => Promise<{ call?: Parameters<typeof toCall>[0] }>): Promise<Call> {
    const { call } = await this.#retry(ask);
    if (!call) throw new RequestFailed({ kind: "refused", reason: "", message: "The server's answer has no call." });
    return toCall(call);
  }

  async #retry<T>(ask: (options: { timeoutMs: number }) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await ask({ timeoutMs: COMMAND_TIMEOUT_MS });
      } catch (error) {
        const failure = toFailure(error);
        if (failure.kind !== "unreachable" || attempt + 1 >= COMMAND_TRIES_MAX) throw new RequestFailed(failure);
        await new Promise((done) => setTimeout(done, backoffMs(COMMAND_RETRY, attempt, Math.random())));
      }
    }
  }
}

export function failureOf(error: unknown): Failure {
  return error instanceof RequestFailed ? error.failure : toFailure(error);
}
