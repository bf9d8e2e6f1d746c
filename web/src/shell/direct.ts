// Runs the direct connection of a call: carries out what core/direct.ts says, and tells it what is decoded.

import { deadline, sends, stepDirect, NO_DIRECT, type DirectCore, type DirectEffect, type DirectEvent, type Step } from "../core/direct";
import { stunUrls } from "../core/stun";
import type { Failure } from "../core/model";
import { DirectLeg } from "./directleg";
import type { Leg } from "./leg";
import { failureOf } from "./rpc";

/** How often it is looked what is decoded. Finer costs CPU, coarser delays the moment of a switch. */
const LOOK_EVERY_MS = 20;

export interface DirectWorld {
  /** The leg through the router, if there is one. */
  routed(): Leg | null;
  tell(callId: string, attempt: number, step: Step): Promise<void>;
  /** What is sent where, or which path is played, may be another now. */
  onChange(before: DirectCore): void;
}

export class Direct {
  #state: DirectCore = NO_DIRECT;
  #leg: DirectLeg | null = null;
  #timer = 0;
  #looking = 0;

  constructor(readonly world: DirectWorld) {}

  get state(): DirectCore {
    return this.#state;
  }

  get leg(): DirectLeg | null {
    return this.#leg;
  }

  get sends(): ReturnType<typeof sends> {
    return sends(this.#state);
  }

  handle(event: DirectEvent): void {
    const before = this.#state;
    const { state, effects } = stepDirect(before, event, performance.now());
    this.#state = state;
    const moved = state.attempt !== before.attempt || state.plays !== before.plays || state.callId !== before.callId;
    // The other path is played before one is closed.
    if (moved) this.world.onChange(before);
    for (const effect of effects) this.#carryOut(effect, state.callId ?? before.callId ?? "");
    this.#arm();
  }

  #carryOut(effect: DirectEffect, callId: string): void {
    const { attempt } = effect;
    switch (effect.type) {
      case "open": {
        const leg: DirectLeg = new DirectLeg(stunUrls(this.world.routed()?.routerSdp ?? ""), {
          onConnected: () => this.#leg === leg && this.handle({ type: "connected", attempt }),
          onBroken: () => this.#leg === leg && this.handle({ type: "broken", attempt }),
        });
        this.#leg = leg;
        const described = effect.offer === null ? leg.offer() : leg.accept(effect.offer);
        return this.#watch(leg, attempt, described.then((sdp) => this.#leg === leg && this.handle({ type: "described", attempt, sdp })));
      }
      case "answer":
        return this.#leg ? this.#watch(this.#leg, attempt, this.#leg.answer(effect.sdp)) : undefined;
      case "candidates":
        return this.#leg ? this.#watch(this.#leg, attempt, this.#leg.candidates(effect.candidates)) : undefined;
      case "tell":
        return this.#tell(callId, attempt, effect.step);
      case "close":
        this.#leg?.close();
        this.#leg = null;
        return;
    }
  }

  #watch(leg: DirectLeg, attempt: number, step: Promise<unknown>): void {
    step.catch(() => this.#leg === leg && this.handle({ type: "broken", attempt }));
  }

  #tell(callId: string, attempt: number, step: Step): void {
    const leg = this.#leg;
    this.world.tell(callId, attempt, step).catch((error: unknown) => {
      // A stale step is no failure: the news of what came in its place are on their way.
      if (!isStale(failureOf(error)) && leg && this.#leg === leg) this.handle({ type: "broken", attempt });
    });
  }

  #arm(): void {
    window.clearTimeout(this.#timer);
    const at = deadline(this.#state);
    if (at !== null) this.#timer = window.setTimeout(() => this.handle({ type: "timer" }), Math.max(0, at - performance.now()));
    const look = this.#state.attempt !== null && this.#state.attempt.stage !== "setup";
    if (look === (this.#looking !== 0)) return;
    window.clearInterval(this.#looking);
    this.#looking = look ? window.setInterval(() => this.#look(), LOOK_EVERY_MS) : 0;
  }

  #look(): void {
    const nothing = { audio: false, video: false };
    const routed = this.world.routed()?.lines.heard() ?? nothing;
    const direct = this.#leg?.lines?.heard() ?? nothing;
    this.handle({ type: "heard", routed, direct });
  }
}

function isStale(failure: Failure): boolean {
  return failure.reason === "DIRECT_STALE";
}
