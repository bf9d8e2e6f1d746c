// What tests and bug reports may read: `window.duocast`. Nothing can be changed through it.

import { currentCall, incomingCall } from "../core/call";
import type { LegStats } from "../core/stats";
import type { App } from "./app";
import type { FirstMedia } from "./firstmedia";

export interface HookState {
  readonly signIn: string;
  readonly connection: string;
  /** Of the call on this device. */
  readonly call: { readonly id: string; readonly state: string; readonly peer: string; readonly peerMedia: { audio: boolean; video: boolean } } | null;
  readonly incoming: { readonly id: string; readonly peer: string; readonly video: boolean } | null;
  readonly ended: unknown;
  readonly leg: string;
  /** Grows by one with each new peer connection of this page. */
  readonly legGeneration: number;
  readonly mic: string;
  readonly cam: string;
  readonly sending: { readonly audio: boolean; readonly video: boolean } | null;
  readonly quality: string;
}

export interface HookStats {
  /** Null while there is no leg. */
  readonly leg: LegStats | null;
  /** Null until a call was answered on this page. */
  readonly first: FirstMedia | null;
}

export interface Hook {
  state(): HookState;
  stats(): Promise<HookStats>;
}

declare global {
  interface Window {
    readonly duocast: Hook;
  }
}

export function exposeHook(app: App): void {
  const hook: Hook = {
    state: () => hookState(app),
    stats: async () => ({ leg: await app.media.stats(), first: app.media.firstMedia }),
  };
  Object.defineProperty(window, "duocast", { value: Object.freeze(hook) });
}

function hookState(app: App): HookState {
  const view = app.view();
  const call = currentCall(view.calls);
  const incoming = incomingCall(view.calls);
  return {
    signIn: view.signIn.type,
    connection: view.connection.name,
    call: call && { id: call.id, state: call.state, peer: call.peer.handle, peerMedia: { ...call.peerMedia } },
    incoming: incoming && { id: incoming.id, peer: incoming.peer.handle, video: incoming.video },
    ended: view.calls.ended?.ending ?? null,
    leg: view.leg,
    legGeneration: app.media.leg.generation,
    mic: view.mic,
    cam: view.cam,
    sending: view.calls.sending && { ...view.calls.sending },
    quality: view.quality.grade,
  };
}
