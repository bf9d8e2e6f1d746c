// Who can see whose address, in the few cases that a person is told of.

import type { Call } from "./model";

/** What the person last said of a direct connection in this call. */
export interface DirectWish {
  readonly callId: string;
  readonly yes: boolean;
  /** They said no to the question that is being asked: it is not put again until it is asked anew. */
  readonly hushed: boolean;
}

export type PrivacyView =
  /** Through the server. `seen`: since when the other side knows the address from an earlier direct connection. */
  | { readonly kind: "routed"; readonly seen: number | null; readonly ask: "possible" | "never" | "not_yet"; readonly failed: boolean }
  /** The other side has not said yes (yet). `left`: it did, and went private again. */
  | { readonly kind: "waiting"; readonly seen: number | null; readonly left: boolean }
  | { readonly kind: "question"; readonly seen: number | null }
  | { readonly kind: "connecting"; readonly seen: number | null }
  | { readonly kind: "direct"; readonly seen: number | null };

export function privacyView(call: Call | null, wish: DirectWish | null): PrivacyView {
  const seen = call?.ownExposure?.since ?? null;
  const direct = call?.direct;
  if (!call || !direct) return { kind: "routed", seen, ask: "not_yet", failed: false };
  const own = wish?.callId === call.id ? wish : null;
  if (direct.own === "never") return { kind: "routed", seen, ask: "never", failed: false };
  // The way back needs nobody's word: it is true before the server has heard of it.
  const left = own?.yes === false;
  if (!left && direct.phase === "active") return { kind: "direct", seen };
  if (!left && direct.phase !== "routed") return { kind: "connecting", seen };
  if (direct.peer === "given" && direct.own !== "given" && !own?.hushed && !own?.yes) return { kind: "question", seen };
  if (!left && direct.own === "given" && direct.lastEnd !== "failed") return { kind: "waiting", seen, left: direct.lastEnd === "withdrawn" };
  return { kind: "routed", seen, ask: "possible", failed: !left && direct.lastEnd === "failed" };
}

/** The wish after news of the call. */
export function wishAfter(wish: DirectWish | null, call: Call | null): DirectWish | null {
  if (!wish || wish.callId !== call?.id) return null;
  return wish.hushed && call.direct && call.direct.peer !== "given" ? { ...wish, hushed: false } : wish;
}

/** The server still holds a yes where the person said no: it may not have heard. */
export function mustRepeatNo(wish: DirectWish | null, call: Call): boolean {
  return wish?.callId === call.id && !wish.yes && call.direct?.own === "given";
}
