// One peer connection to the other party. It decides nothing: core/direct.ts says when to make and close one.

import { VIDEO_BITRATE_MAX } from "../core/bitrate";
import { MediaLines } from "./path";
import { sendRedundant } from "./redescribe";

/** Candidates are gathered for this long at most; the server wants a description whole. */
const GATHER_MS_MAX = 2_000;

export interface DirectLegEvents {
  onConnected(): void;
  onBroken(): void;
}

export class DirectLeg {
  readonly connection: RTCPeerConnection;
  #lines: MediaLines | null = null;
  /** Steps are done one after the other, in the order in which they came. */
  #steps: Promise<unknown> = Promise.resolve();
  #closed = false;
  #redundant = false;

  /** A connection of its own has its own certificate, CNAME and ICE credentials: nothing ties it to the routed leg. */
  constructor(
    stunUrls: readonly string[],
    readonly events: DirectLegEvents,
  ) {
    this.connection = new RTCPeerConnection({
      bundlePolicy: "max-bundle",
      rtcpMuxPolicy: "require",
      iceServers: stunUrls.length > 0 ? [{ urls: [...stunUrls] }] : [],
    });
    this.connection.addEventListener("connectionstatechange", () => {
      const state = this.connection.connectionState;
      if (state === "connected") events.onConnected();
      else if (state === "failed" || state === "disconnected" || state === "closed") events.onBroken();
    });
  }

  /** Known once the descriptions are there. */
  get lines(): MediaLines | null {
    return this.#lines;
  }

  /** The offer with all its candidates. */
  offer(): Promise<string> {
    return this.#then(async () => {
      this.#lines = new MediaLines(
        this.connection.addTransceiver("audio", { direction: "sendrecv" }),
        this.connection.addTransceiver("video", { direction: "sendrecv", sendEncodings: [{ maxBitrate: VIDEO_BITRATE_MAX }] }),
      );
      return this.#describe();
    });
  }

  /** The answer to `offer`, with all its candidates. */
  accept(offer: string): Promise<string> {
    return this.#then(async () => {
      await this.connection.setRemoteDescription({ type: "offer", sdp: offer });
      const [audio, video] = ["audio", "video"].map((kind) =>
        this.connection.getTransceivers().find((line) => line.receiver.track.kind === kind),
      );
      if (!audio || !video) throw new Error("the offer has not both lines");
      for (const line of [audio, video]) line.direction = "sendrecv";
      this.#lines = new MediaLines(audio, video);
      const described = await this.#describe();
      await limitBitrate(video.sender);
      return described;
    });
  }

  answer(sdp: string): Promise<void> {
    return this.#then(() => this.connection.setRemoteDescription({ type: "answer", sdp }));
  }

  candidates(candidates: readonly string[]): Promise<void> {
    return this.#then(async () => {
      // One that this browser cannot use costs only itself.
      const added = candidates.map((candidate) => this.connection.addIceCandidate({ candidate, sdpMLineIndex: 0 }));
      const outcomes = await Promise.allSettled(added);
      if (!outcomes.some(({ status }) => status === "fulfilled")) throw new Error("no candidate can be used");
    });
  }

  /** Each packet of sound carries the one before as well, or not. Before both descriptions are there it is not done; ask again later. */
  protect(redundant: boolean): void {
    void this.#then(async () => {
      if (redundant !== this.#redundant && (await sendRedundant(this.connection, redundant))) this.#redundant = redundant;
    }).catch(() => "the connection was closed meanwhile");
  }

  close(): void {
    this.#closed = true;
    this.connection.close();
  }

  async #describe(): Promise<string> {
    await this.connection.setLocalDescription();
    if (this.connection.iceGatheringState !== "complete") await gathered(this.connection);
    return this.connection.localDescription?.sdp ?? "";
  }

  #then<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#steps.then(() => {
      if (this.#closed) throw new Error("closed");
      return step();
    });
    this.#steps = done.catch(() => undefined);
    return done;
  }
}

function gathered(connection: RTCPeerConnection): Promise<void> {
  return new Promise((done) => {
    const timer = window.setTimeout(done, GATHER_MS_MAX);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState !== "complete") return;
      window.clearTimeout(timer);
      done();
    });
  });
}

async function limitBitrate(sender: RTCRtpSender): Promise<void> {
  const parameters = sender.getParameters();
  for (const encoding of parameters.encodings) encoding.maxBitrate = VIDEO_BITRATE_MAX;
  // A browser that refuses sends as much as it thinks right.
  await sender.setParameters(parameters).catch(() => undefined);
}
