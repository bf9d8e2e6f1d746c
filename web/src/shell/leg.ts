// One peer connection to the router. It decides nothing: core/leg.ts says when to make, restart and close one.

import type { IceState } from "../core/leg";
import { agreedToRepeat, repeatingSound, soundOrdered } from "../core/redundancy";
import { pausedIn, SIZE_NAMES, sizesOf } from "../core/sizes";
import type { Relay } from "./api";
import { MediaLines } from "./path";
import { offerToRouter, sendRedundant } from "./redescribe";

/** Until the camera is known. */
const SIZES: RTCRtpEncodingParameters[] = sizesOf(1280 * 720).map((size, i) => ({ rid: SIZE_NAMES[i], ...size }));

export class Leg {
  readonly connection: RTCPeerConnection;
  readonly lines: MediaLines;
  /** Descriptions are set one after the other, in the order in which they were asked for. */
  #steps: Promise<unknown> = Promise.resolve();
  #redundant = false;
  /** The router asks for sound that was lost. */
  #repeats = false;

  /**
   * The picture's line is always offered, so that cameras go on and off in mid-call without another offer. Nothing is
   * attached to either sender yet: a leg that is prepared while it rings has nothing to send.
   */
  constructor(onIce: (state: IceState) => void, relay: Relay | null) {
    this.connection = new RTCPeerConnection(configuration(relay));
    this.lines = new MediaLines(
      this.connection.addTransceiver("audio", { direction: "sendrecv" }),
      this.connection.addTransceiver("video", { direction: "sendrecv", sendEncodings: SIZES }),
    );
    this.connection.addEventListener("connectionstatechange", () => {
      const state = this.#iceState();
      if (state) onIce(state);
    });
  }

  /** May be used from the next restart on. */
  useRelay(relay: Relay | null): void {
    this.connection.setConfiguration(configuration(relay));
  }

  /** The offer, without waiting for candidates: the router sees where the packets come from. */
  offer(options: { restart: boolean }): Promise<string> {
    return this.#then(async () => {
      // A restart whose answer never came leaves an offer behind; it is made anew.
      if (this.connection.signalingState === "have-local-offer") {
        await this.connection.setLocalDescription({ type: "rollback" });
      }
      await offerToRouter(this.connection, { iceRestart: options.restart });
      return repeatingSound(this.connection.localDescription?.sdp ?? "");
    });
  }

  /** Takes the router's answer. Gives "connected" where a restart did not even interrupt the connection. */
  answer(sdp: string): Promise<IceState | null> {
    return this.#then(async () => {
      const agreed = agreedToRepeat(sdp);
      this.#repeats = agreed.repeats;
      const ordered = soundOrdered(agreed.sdp, this.#redundant, this.#repeats);
      await this.connection.setRemoteDescription({ type: "answer", sdp: pausedIn(ordered, this.lines.pausedSizes) });
      return this.#iceState() === "connected" ? "connected" : null;
    });
  }

  /** Each packet of sound carries the one before as well, or not. While anything is offered it is not done; ask again later. */
  protect(redundant: boolean): void {
    void this.#then(async () => {
      const router = { repeats: this.#repeats, lines: this.lines };
      if (redundant !== this.#redundant && (await sendRedundant(this.connection, redundant, router))) this.#redundant = redundant;
    }).catch(() => "the connection was closed meanwhile");
  }

  /** The router's answer to this leg, with its addresses; "" before it. */
  get routerSdp(): string {
    return this.connection.remoteDescription?.sdp ?? "";
  }

  close(): void {
    this.connection.close();
  }

  #then<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#steps.then(step);
    this.#steps = done.catch(() => undefined);
    return done;
  }

  #iceState(): IceState | null {
    const state = this.connection.connectionState;
    return state === "connected" || state === "disconnected" || state === "failed" ? state : null;
  }
}

function configuration(relay: Relay | null): RTCConfiguration {
  const { hostname, port } = window.location;
  const urls = `turns:${hostname}:${port || "443"}?transport=tcp`;
  const iceServers = relay ? [{ urls, username: relay.username, credential: relay.password }] : [];
  return { bundlePolicy: "max-bundle", rtcpMuxPolicy: "require", iceServers };
}
