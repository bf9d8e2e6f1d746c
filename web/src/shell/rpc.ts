// How the server is asked: one transport with this tab's token, a deadline and tries for each command, and a Failure for
// what did not succeed.

import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { backoffMs, type Backoff } from "../core/backoff";
import type { Failure } from "../core/model";
import { toFailure } from "./wire";

/** After this long without an answer a command counts as not answered. The server's own work takes milliseconds. */
export const COMMAND_TIMEOUT_MS = 8_000;

/** Every command is idempotent. More tries ride out a longer restart, fewer tell the person sooner. */
const COMMAND_TRIES_MAX = 3;
const COMMAND_RETRY: Backoff = { firstMs: 300, maxMs: 1_200 };

export class RequestFailed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.reason || failure.kind);
  }
}

export function transportTo(baseUrl: string, token: () => string): Transport {
  const authorize: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${token()}`);
    return next(request);
  };
  return createGrpcWebTransport({ baseUrl, interceptors: [authorize] });
}

/** Asks until it is answered, or has failed too often. Throws RequestFailed. */
export async function withRetry<T>(ask: (options: { timeoutMs: number }) => Promise<T>): Promise<T> {
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

export function failureOf(error: unknown): Failure {
  return error instanceof RequestFailed ? error.failure : toFailure(error);
}
