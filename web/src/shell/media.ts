// This device's part of a call's media: its leg to the router, the direct connection if there is one, the inputs that
// feed them, the sound that comes out of them.

import { stepLeg, NO_LEG, type LegEffect, type LegEvent, type LegState } from "../core/leg";
import { ALL_SIZES, stepSizing, type Sizing } from "../core/onesize";
import { NO_REDUNDANCY, stepRedundancy, type Redundancy } from "../core/redundancy";
import { QualityWindow, UNKNOWN_QUALITY, type Quality } from "../core/quality";
import { toSample, type LegStats } from "../core/stats";
import type { LegNeed } from "../core/call";
import { isPictureOld, type DirectCore, type Path, type Signal } from "../core/direct";
import type { Call, MediaState } from "../core/model";
import type { RemotePicture } from "../core/view";
import type { Api, Relay } from "./api";
import { Capture } from "./capture";
import { Direct } from "./direct";
import { watchFirstMedia, type FirstMedia } from "./firstmedia";
import { HeardCounter, statsOf, type Heard } from "./heard";
import { Leg } from "./leg";
import type { MediaLines } from "./path";
import { failureOf } from "./rpc";
import { pixelsOf } from "./sending";
import { Speakers } from "./speakers";

/** The grade is refreshed this often while a call is live. */
const STATS_EVERY_MS = 1_000;

const PATHS: readonly Path[] = ["routed", "direct"];

/** What the rest of the client wants of the media at this moment. */
export interface MediaWish {
  readonly need: LegNeed | null;
  /** The call on this device, from its answer on. */
  readonly call: Call | null;
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
  readonly #direct: Direct;
  readonly #speakers: Speakers;
  readonly #heard = new HeardCounter();
  #leg: LegState = NO_LEG;
  #peer: Leg | null = null;
  #relay: Relay | null = null;
  #wish: MediaWish | null = null;
  #timer = 0;
  #statsTimer = 0;
  #window = new QualityWindow();
  #quality: Quality = UNKNOWN_QUALITY;
  #redundancy: Readonly<Record<Path, Redundancy>> = { routed: NO_REDUNDANCY, direct: NO_REDUNDANCY };
  /** Of the picture to the router; a direct leg has one size. */
  #sizing: Sizing = ALL_SIZES;
  #acceptClick: { callId: string; atMs: number } | null = null;
  #liveCall: string | null = null;
  #first: FirstMedia | null = null;
  #stopWatching: (() => void) | null = null;
  /** The direct path's last picture. It stays until the routed path draws a new one: what that showed last is old. */
  #still: HTMLCanvasElement | null = null;

  constructor(
    readonly api: Api,
    readonly sessionId: () => string,
    readonly onChange: () => void,
  ) {
    this.capture = new Capture(onChange);
    this.#speakers = new Speakers(onChange);
    this.#direct = new Direct({
      routed: () => this.#peer,
      tell: (callId, attempt, step) => this.api.sendDirect(this.sessionId(), callId, attempt, step),
      onChange: (before) => this.#directChanged(before),
    });
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

  /** The direct connection, for the hook. */
  get direct(): Direct {
    return this.#direct;
  }

  /** The other side's picture, as it comes on each path; one of them is to be seen. */
  get remotePictures(): readonly RemotePicture[] {
    return PATHS.flatMap((path) => {
      const lines = this.#lines(path);
      if (!lines) return [];
      const drawn = path === "routed" ? this.#routedDrawn : lines.drawn;
      const shown = this.#direct.state.plays.video === path && !this.#still;
      return [{ path, stream: lines.remoteVideo, shown, drawn }];
    });
  }

  /** A picture that stands still in the place of the others. */
  get still(): HTMLCanvasElement | null {
    return this.#still;
  }

  get soundBlocked(): boolean {
    return this.#speakers.blocked;
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
    const { call } = wish;
    this.#direct.handle({
      type: "call",
      callId: call?.id ?? null,
      view: call?.direct ?? null,
      peerMedia: call?.peerMedia ?? { audio: true, video: false },
    });
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
    this.#speakers.unblock();
  }

  signal(signal: Signal): void {
    this.#direct.handle({ type: "signal", signal });
  }

  /** Back to the router, at once and whatever anybody says. */
  goPrivate(): void {
    this.#direct.handle({ type: "go_private" });
  }

  /** Null while there is no such connection. */
  async stats(path: Path): Promise<LegStats | null> {
    const connection = this.#connection(path);
    return connection && statsOf(connection);
  }

  heard(): Promise<Heard> {
    return this.#heard.now();
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
        this.#sizing = ALL_SIZES;
        if (this.#liveCall && this.#direct.state.plays.audio === "routed") this.#heard.hear(this.#peer.connection);
        void this.#negotiate(this.#peer, effect.generation, effect.callId, "");
        return;
      case "restart":
        this.#peer?.useRelay(this.#relayToUse());
        if (this.#peer) void this.#negotiate(this.#peer, effect.generation, effect.callId, effect.legId);
        return;
      case "close":
        return this.#close();
    }
  }

  #newLeg(generation: number): Leg {
    return new Leg((state) => this.handle({ type: "ice", generation, state }), this.#relayToUse());
  }

  #relayToUse(): Relay | null {
    return this.#leg.relayed ? this.#relay : null;
  }

  async #negotiate(peer: Leg, generation: number, callId: string, legId: string): Promise<void> {
    try {
      const offer = await peer.offer({ restart: legId !== "" });
      const answer = await this.api.connectLeg(this.sessionId(), callId, legId, offer);
      if (this.#peer !== peer) return;
      const ice = await peer.answer(answer.sdpAnswer);
      // A page without TLS is on localhost, where the relay's name and port are not known, nor needed.
      this.#relay = window.location.protocol === "https:" ? (answer.relay ?? null) : null;
      this.handle({ type: "answered", generation, legId: answer.legId, offersRelay: this.#relay !== null });
      if (ice) this.handle({ type: "ice", generation, state: ice });
    } catch (error) {
      if (this.#peer === peer) this.handle({ type: "failed", generation, failure: failureOf(error) });
    }
  }

  readonly #routedDrawn = (element: HTMLVideoElement): void => {
    this.#peer?.lines?.drawn(element);
    if (!this.#still) return;
    this.#still = null;
    this.onChange();
  };

  #close(): void {
    this.#peer?.close();
    this.#peer = null;
    this.#still = null;
    this.#speakers.play("routed", null);
    this.#window.reset();
    this.#quality = UNKNOWN_QUALITY;
  }

  /** Before the answer nothing is attached to the leg and nothing of it is played. */
  #applyLive(): void {
    const wish = this.#wish;
    const live = wish?.need?.live ? wish.need.callId : null;
    const mic = this.capture.track("mic");
    if (mic) mic.enabled = (wish?.mic ?? false) || (wish?.testMic === true && !live);
    const cam = this.#cam;
    const { sends } = this.#direct;
    for (const path of PATHS) {
      const sizes = path === "routed" ? this.#sizing.choice : "all";
      this.#lines(path)?.send(live === null ? null : mic, live === null ? null : cam, sends[path], sizes);
      this.#speakers.play(path, live ? (this.#lines(path)?.remoteAudio ?? null) : null);
    }
    this.#speakers.hear(this.#direct.state.plays.audio);
    if (wish) this.#speakers.useSpeaker(wish.speakerId);
    if (live !== this.#liveCall) this.#liveChanged(live);
  }

  get #cam(): MediaStreamTrack | null {
    return this.#wish?.cam ? this.capture.track("cam") : null;
  }

  #lines(path: Path): MediaLines | null {
    return path === "routed" ? (this.#peer?.lines ?? null) : (this.#direct.leg?.lines ?? null);
  }

  #connection(path: Path): RTCPeerConnection | null {
    return path === "routed" ? (this.#peer?.connection ?? null) : (this.#direct.leg?.connection ?? null);
  }

  /** At once, and not with the next drawing: a gap is heard. */
  #directChanged(before: DirectCore): void {
    const { plays } = this.#direct.state;
    for (const kind of ["audio", "video"] as const) {
      if (plays[kind] !== before.plays[kind]) this.#heard.changed(kind, this.#connection(plays[kind]));
    }
    if (plays !== before.plays) this.#window.reset();
    // The direct leg is still there: it is closed after this.
    const ended = before.plays.video === "direct" && this.#direct.state.attempt === null;
    if (ended && isPictureOld(this.#direct.state, performance.now())) this.#still = this.#lines("direct")?.still() ?? null;
    this.#applyLive();
    this.onChange();
  }

  #liveChanged(live: string | null): void {
    this.#liveCall = live;
    this.#redundancy = { routed: NO_REDUNDANCY, direct: NO_REDUNDANCY };
    this.#sizing = ALL_SIZES;
    this.#stopWatching?.();
    window.clearInterval(this.#statsTimer);
    this.#heard.hear(live ? this.#connection("routed") : null);
    if (!live) return;
    const click = this.#acceptClick?.callId === live ? this.#acceptClick.atMs : performance.now();
    this.#first = null;
    if (this.#peer) this.#stopWatching = watchFirstMedia(this.#peer, click, (seen) => (this.#first = seen));
    this.#statsTimer = window.setInterval(() => void this.#grade(), STATS_EVERY_MS);
  }

  async #grade(): Promise<void> {
    const path = this.#direct.state.plays.audio;
    const { generation } = this.#leg;
    const stats = await this.stats(path);
    if (!stats) return;
    if (path === "routed" && stats.transport) this.handle({ type: "transport", generation, transport: stats.transport });
    const now = performance.now();
    this.#quality = this.#window.add(toSample(stats, now));
    const redundancy = stepRedundancy(this.#redundancy[path], stats.sentAudioLoss, now);
    this.#redundancy = { ...this.#redundancy, [path]: redundancy };
    (path === "routed" ? this.#peer : this.#direct.leg)?.protect(redundancy.on);
    if (path === "routed") this.#fitSizes(stats.availableOutgoingBitrate, now);
    this.onChange();
  }

  /** Whether the way to the router, which carries `bits`, has room for every size of the picture. */
  #fitSizes(bits: number | null, now: number): void {
    const pixels = this.#direct.sends.routed.video ? pixelsOf(this.#cam) : 0;
    const before = this.#sizing.choice;
    this.#sizing = stepSizing(this.#sizing, bits, pixels, now);
    if (this.#sizing.choice !== before) this.#applyLive();
  }
}
