// One peer connection to the router. It decides nothing: core/leg.ts says when to make, restart and close one.

import type { IceState } from "../core/leg";

/** Enough for 720p30 of a face; the router's bandwidth estimate lowers it where the network is narrower. */
const VIDEO_BITRATE_MAX = 1_700_000;

export class Leg {
  readonly connection: RTCPeerConnection;
  readonly audio: RTCRtpTransceiver;
  readonly video: RTCRtpTransceiver;
  /** Sound and picture in elements of their own: the sound plays on while there is no picture. */
  readonly remoteAudio: MediaStream;
  readonly remoteVideo: MediaStream;

  /**
   * The picture's line is always offered, so that cameras go on and off in mid-call without another offer. Nothing is
   * attached to either sender yet: a leg that is prepared while it rings has nothing to send.
   */
  constructor(onIce: (state: IceState) => void) {
    this.connection = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
    this.audio = this.connection.addTransceiver("audio", { direction: "sendrecv" });
    this.video = this.connection.addTransceiver("video", {
      direction: "sendrecv",
      sendEncodings: [{ maxBitrate: VIDEO_BITRATE_MAX }],
    });
    this.remoteAudio = new MediaStream([this.audio.receiver.track]);
    this.remoteVideo = new MediaStream([this.video.receiver.track]);
    this.connection.addEventListener("connectionstatechange", () => {
      const state = this.#iceState();
      if (state) onIce(state);
    });
  }

  /** The offer, without waiting for candidates: the router sees where the packets come from. */
  async offer(options: { restart: boolean }): Promise<string> {
    // A restart whose answer never came leaves an offer behind; it is made anew.
    if (this.connection.signalingState === "have-local-offer") {
      await this.connection.setLocalDescription({ type: "rollback" });
    }
    await this.connection.setLocalDescription(await this.connection.createOffer({ iceRestart: options.restart }));
    return this.connection.localDescription?.sdp ?? "";
  }

  /** Takes the router's answer. Gives "connected" where a restart did not even interrupt the connection. */
  async answer(sdp: string): Promise<IceState | null> {
    await this.connection.setRemoteDescription({ type: "answer", sdp });
    return this.#iceState() === "connected" ? "connected" : null;
  }

  async send(audio: MediaStreamTrack | null, video: MediaStreamTrack | null): Promise<void> {
    await Promise.all([swap(this.audio.sender, audio), swap(this.video.sender, video)]);
  }

  close(): void {
    this.connection.close();
  }

  #iceState(): IceState | null {
    const state = this.connection.connectionState;
    return state === "connected" || state === "disconnected" || state === "failed" ? state : null;
  }
}

async function swap(sender: RTCRtpSender, track: MediaStreamTrack | null): Promise<void> {
  if (sender.track !== track) await sender.replaceTrack(track);
}
