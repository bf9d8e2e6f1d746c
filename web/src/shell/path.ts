// What the two paths of a call's media, through the router and direct, have in common.

import { Sending } from "./sending";

/** Enough for 720p30 of a face; the bandwidth estimate lowers it where the network is narrower. */
export const VIDEO_BITRATE_MAX = 1_700_000;

/** The two lines of every description of ours: sound first, then the picture. */
export class MediaLines {
  /** Sound and picture in elements of their own: the sound plays on while there is no picture. */
  readonly remoteAudio: MediaStream;
  readonly remoteVideo: MediaStream;
  readonly #audio: Sending;
  readonly #video: Sending;
  #seen = { audio: 0, video: 0 };

  constructor(
    readonly audio: RTCRtpTransceiver,
    readonly video: RTCRtpTransceiver,
  ) {
    this.remoteAudio = new MediaStream([audio.receiver.track]);
    this.remoteVideo = new MediaStream([video.receiver.track]);
    this.#audio = new Sending(audio.sender);
    this.#video = new Sending(video.sender);
  }

  send(audio: MediaStreamTrack | null, video: MediaStreamTrack | null): void {
    this.#audio.send(audio);
    this.#video.send(video);
  }

  /**
   * What was decoded since this was last asked. A source's timestamp is that of the media which was handed on last to
   * be played (WebRTC, 5.5): concealed sound does not move it.
   */
  heard(): { audio: boolean; video: boolean } {
    const before = this.#seen;
    this.#seen = { audio: newest(this.audio.receiver), video: newest(this.video.receiver) };
    return { audio: this.#seen.audio !== before.audio, video: this.#seen.video !== before.video };
  }
}

function newest(receiver: RTCRtpReceiver): number {
  return receiver.getSynchronizationSources()[0]?.rtpTimestamp ?? 0;
}
