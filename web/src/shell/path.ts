// What the two paths of a call's media, through the router and direct, have in common.

import type { MediaState } from "../core/model";
import type { Choice } from "../core/sizes";
import { Sending } from "./sending";

/** The two lines of every description of ours: sound first, then the picture. */
export class MediaLines {
  /** Sound and picture in elements of their own: the sound plays on while there is no picture. */
  readonly remoteAudio: MediaStream;
  readonly remoteVideo: MediaStream;
  readonly #audio: Sending;
  readonly #video: Sending;
  #seen = { audio: 0, video: 0 };
  #drawn = 0;
  #element: HTMLVideoElement | null = null;

  constructor(
    readonly audio: RTCRtpTransceiver,
    readonly video: RTCRtpTransceiver,
  ) {
    this.remoteAudio = new MediaStream([audio.receiver.track]);
    this.remoteVideo = new MediaStream([video.receiver.track]);
    this.#audio = new Sending(audio.sender, "encoding");
    this.#video = new Sending(video.sender, "track");
  }

  /** Sends those of these tracks that are `on`, the picture in these of its sizes. */
  send(audio: MediaStreamTrack | null, video: MediaStreamTrack | null, on: MediaState, sizes: Choice): void {
    this.#audio.send(audio, on.audio);
    this.#video.send(video, on.video, sizes);
  }

  /** The names of the sizes of the picture that are switched off at this moment: what the other end's answer has to say as well. */
  get pausedSizes(): readonly string[] {
    return this.#video.paused;
  }

  /** A picture of this path has been drawn by this element, in sight or behind another one. */
  readonly drawn = (element: HTMLVideoElement): void => {
    this.#drawn += 1;
    this.#element = element;
  };

  /** A copy of the picture that was drawn last: elements turn black when their connection is closed. */
  still(): HTMLCanvasElement | null {
    const element = this.#element;
    if (!element || element.videoWidth === 0) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [element.videoWidth, element.videoHeight];
    canvas.getContext("2d")?.drawImage(element, 0, 0);
    return canvas;
  }

  /**
   * What was decoded since this was last asked. A source's timestamp is that of the media which was handed on last to
   * be played (WebRTC, 5.5): concealed sound does not move it. A source that was silent for ten seconds is forgotten, which is no news.
   */
  heard(): { audio: boolean; video: boolean } {
    const before = this.#seen;
    this.#seen = { audio: newest(this.audio.receiver) ?? before.audio, video: this.#newestPicture() ?? before.video };
    return { audio: this.#seen.audio !== before.audio, video: this.#seen.video !== before.video };
  }

  /** Between the decoder and the first picture of an element that has just begun lie some hundred milliseconds. */
  #newestPicture(): number | undefined {
    return drawsPictures() ? this.#drawn : newest(this.video.receiver);
  }
}

/** Pictures are drawn only on a page that is in sight. */
function drawsPictures(): boolean {
  return "requestVideoFrameCallback" in HTMLVideoElement.prototype && !document.hidden;
}

function newest(receiver: RTCRtpReceiver): number | undefined {
  return receiver.getSynchronizationSources()[0]?.rtpTimestamp;
}
