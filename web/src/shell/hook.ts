// What tests and bug reports may read: `window.duocast`. Nothing can be changed through it.

import { currentCall, incomingCall } from "../core/call";
import type { DirectPhase, MediaState } from "../core/model";
import type { MediaKind, Path, Stage } from "../core/direct";
import type { LegStats } from "../core/stats";
import type { App } from "./app";
import type { FirstMedia } from "./firstmedia";
import type { Heard } from "./heard";

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
  readonly direct: {
    /** As the server has it; null unless the call is live. */
    readonly phase: DirectPhase | null;
    /** Of this page's own connection; null for none. */
    readonly stage: Stage | null;
    readonly attempt: number;
    readonly plays: Readonly<Record<MediaKind, Path>>;
    readonly sends: Readonly<Record<Path, MediaState>>;
  };
  /** Of the account: null until the server has said. */
  readonly calling: boolean | null;
}

export interface HookStats {
  /** Of the leg through the router; null while there is none. */
  readonly leg: LegStats | null;
  /** Of the direct connection; null while there is none. */
  readonly direct: LegStats | null;
  readonly heard: Heard;
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
    stats: () => hookStats(app),
  };
  Object.defineProperty(window, "duocast", { value: Object.freeze(hook) });
}

async function hookStats({ media }: App): Promise<HookStats> {
  const [leg, direct, heard] = await Promise.all([media.stats("routed"), media.stats("direct"), media.heard()]);
  return { leg, direct, heard, first: media.firstMedia };
}

function hookState(app: App): HookState {
  const view = app.view();
  const call = currentCall(view.calls);
  const incoming = incomingCall(view.calls);
  const { direct } = app.media;
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
    direct: {
      phase: call?.direct?.phase ?? null,
      stage: direct.state.attempt?.stage ?? null,
      attempt: direct.state.attempt?.number ?? 0,
      plays: { ...direct.state.plays },
      sends: { ...direct.sends },
    },
    calling: view.privacy.saved?.calling ?? null,
  };
}
