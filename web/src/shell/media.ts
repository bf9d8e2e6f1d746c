// This device's part of a call's media: one leg, the inputs that feed it, the sound that comes out of it.

import { stepLeg, NO_LEG, type LegEffect, type LegEvent, type LegState } from "../core/leg";
import { QualityWindow, UNKNOWN_QUALITY, type Quality } from "../core/quality";
import { readStats, toSample, type LegStats, type StatsEntry } from "../core/stats";
import type { LegNeed } from "../core/call";
import type { MediaState } from "../core/model";
import { failureOf, type Api } from "./api";
import { Capture } from "./capture";
import { watchFirstMedia, type FirstMedia } from "./firstmedia";
import { Leg } from "./leg";

/** The grade is refreshed this often while a call is live. */
const STATS_EVERY_MS = 1_000;

/** What the rest of the client wants of the media at this moment. */
export interface MediaWish {
  readonly need: LegNeed | null;
  /** What the person wants to send. */
  readonly mic: boolean;
  readonly cam: boolean;
  /** Devices opened to be tried out, in a call or not. */
  readonly testMic: boolean;
  readonly testCam: boolean;
  readonly micId: string;
  readonly camId: string;
  readonly speakerId: string;
}

export class Media {
  readonly capture: Capture;
  #leg: LegState = NO_LEG;
  #peer: Leg | null = null;
  #wish: MediaWish | null = null;
  #timer = 0;
  #statsTimer = 0;
  #window = new QualityWindow();
  #quality: Quality = UNKNOWN_QUALITY;
  #acceptClick: { callId: string; atMs: number } | null = null;
  #liveCall: string | null = null;
  #first: FirstMedia | null = null;
  #stopWatching: (() => void) | null = null;
  readonly #speaker = new Audio();
  #speakerId = "";
  #blocked = false;

  constructor(
    readonly api: Api,
    readonly sessionId: () => string,
    readonly onChange: () => void,
  ) {
    this.capture = new Capture(onChange);
    this.#speaker.autoplay = false;
  }

  get leg(): LegState {
    return this.#leg;
  }

  get quality(): Quality {
    return this.#quality;
  }

  get firstMedia(): FirstMedia | null {
    return this.#first;
  }

  get remoteVideo(): MediaStream | null {
    return this.#peer?.remoteVideo ?? null;
  }

  /** The browser will not play the call before the person has touched the page. */
  get soundBlocked(): boolean {
    return this.#blocked;
  }

  /** What is really sent; null while a device is still being opened. */
  sending(): MediaState | null {
    const wish = this.#wish;
    if (!wish?.need?.engaged) return null;
    const mic = this.capture.state("mic");
    const cam = this.capture.state("cam");
    const opening = (wanted: boolean, state: string): boolean => wanted && (state === "opening" || state === "off");
    if (opening(wish.mic, mic) || opening(wish.cam, cam)) return null;
    return { audio: wish.mic && mic === "on", video: wish.cam && cam === "on" };
  }

  /** Remembers the moment of the accept click, from which the time to the first sound counts. */
  acceptClicked(callId: string): void {
    this.#acceptClick = { callId, atMs: performance.now() };
  }

  /** Brings everything in line with the wish. Safe to call again and again. */
  want(wish: MediaWish): void {
    this.#wish = wish;
    const engaged = wish.need?.engaged ?? false;
    this.#input("mic", wish.testMic || engaged, wish.testMic || wish.mic, wish.micId);
    this.#input("cam", wish.testCam || (engaged && wish.cam), true, wish.camId);
    this.handle({ type: "need", callId: wish.need?.callId ?? null });
    this.#applyLive();
  }

  handle(event: LegEvent): void {
    const { state, effects } = stepLeg(this.#leg, event, { now: Date.now(), random: Math.random() });
    const moved = state !== this.#leg;
    this.#leg = state;
    for (const effect of effects) this.#carryOut(effect);
    window.clearTimeout(this.#timer);
    if (state.deadline) {
      const waitMs = Math.max(0, state.deadline.at - Date.now());
      this.#timer = window.setTimeout(() => this.handle({ type: "timer" }), waitMs);
    }
    if (moved) this.onChange();
  }

  /** Plays what was blocked; call it from a click. */
  unblockSound(): void {
    void this.#play();
  }

  async stats(): Promise<LegStats | null> {
    if (!this.#peer) return null;
    const report = await this.#peer.connection.getStats();
    return readStats(report.values() as Iterable<StatsEntry>);
  }

  #input(kind: "mic" | "cam", keep: boolean, open: boolean, deviceId: string): void {
    if (!keep) return this.capture.close(kind);
    if (open || this.capture.state(kind) === "on") void this.capture.open(kind, deviceId);
  }

  #carryOut(effect: LegEffect): void {
    switch (effect.type) {
      case "open":
        this.#close();
        this.#peer = this.#newLeg(effect.generation);
        void this.#negotiate(this.#peer, effect.generation, effect.callId, "");
        return;
      case "restart":
        if (this.#peer) void this.#negotiate(this.#peer, effect.generation, effect.callId, effect.legId);
        return;
      case "close":
        return this.#close();
    }
  }

  #newLeg(generation: number): Leg {
    return new Leg((state) => this.handle({ type: "ice", generation, state }));
  }

  async #negotiate(peer: Leg, generation: number, callId: string, legId: string): Promise<void> {
    try {
      const offer = await peer.offer({ restart: legId !== "" });
      const answer = await this.api.connectLeg(this.sessionId(), callId, legId, offer);
      if (this.#peer !== peer) return;
      const ice = await peer.answer(answer.sdpAnswer);
      this.handle({ type: "answered", generation, legId: answer.legId });
      if (ice) this.handle({ type: "ice", generation, state: ice });
    } catch (error) {
      if (this.#peer === peer) this.handle({ type: "failed", generation, failure: failureOf(error) });
    }
  }

  #close(): void {
    this.#peer?.close();
    this.#peer = null;
    this.#speaker.srcObject = null;
    this.#window.reset();
    this.#quality = UNKNOWN_QUALITY;
  }

  /** Before the answer nothing is attached to the leg and nothing of it is played. */
  #applyLive(): void {
    const wish = this.#wish;
    const live = wish?.need?.live ? wish.need.callId : null;
    const mic = this.capture.track("mic");
    if (mic) mic.enabled = (wish?.mic ?? false) || (wish?.testMic === true && !live);
    if (this.#peer && wish) {
      const cam = wish.cam ? this.capture.track("cam") : null;
      void this.#peer.send(live ? mic : null, live ? cam : null).catch(() => undefined);
      this.#applySpeaker(live !== null, wish.speakerId);
    }
    if (live !== this.#liveCall) this.#liveChanged(live);
  }

  #applySpeaker(live: boolean, speakerId: string): void {
    const stream = live ? (this.#peer?.remoteAudio ?? null) : null;
    if ("setSinkId" in this.#speaker && this.#speakerId !== speakerId) {
      // Remembered although it may fail: a speaker that is not plugged in is not asked for again and again.
      this.#speakerId = speakerId;
      void this.#speaker.setSinkId(speakerId).catch(() => undefined);
    }
    if (this.#speaker.srcObject === stream) return;
    this.#speaker.srcObject = stream;
    if (stream) void this.#play();
  }

  async #play(): Promise<void> {
    let blocked = false;
    try {
      await this.#speaker.play();
    } catch (error) {
      blocked = error instanceof DOMException && error.name === "NotAllowedError";
    }
    if (blocked !== this.#blocked) {
      this.#blocked = blocked;
      this.onChange();
    }
  }

  #liveChanged(live: string | null): void {
    this.#liveCall = live;
    this.#stopWatching?.();
    window.clearInterval(this.#statsTimer);
    if (!live) return;
    const click = this.#acceptClick?.callId === live ? this.#acceptClick.atMs : performance.now();
    this.#first = null;
    if (this.#peer) this.#stopWatching = watchFirstMedia(this.#peer, click, (seen) => (this.#first = seen));
    this.#statsTimer = window.setInterval(() => void this.#grade(), STATS_EVERY_MS);
  }

  async #grade(): Promise<void> {
    const stats = await this.stats();
    if (!stats) return;
    this.#quality = this.#window.add(toSample(stats, performance.now()));
    this.onChange();
  }
}
