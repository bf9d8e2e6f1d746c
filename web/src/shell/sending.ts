// What a sender sends, if anything. Each change takes a moment, and wishes may come faster than that.

import { sizesOf, type Choice } from "../core/sizes";

export type Pause =
  /** The encoding is switched off and the track stays. */
  | "encoding"
  /** The track is taken away. */
  | "track";

/** No sizes were chosen yet. */
const UNSIZED = { pixels: 0, choice: "all" } as const;

/**
 * Stops and starts one sender without renegotiation. Measured in Chromium 156: either way is decoded again within 20-110 ms
 * on an idle machine, the picture with a key frame. Sound must be stopped by its encoding, or else its RTP timestamps
 * stand still in the pause, and the receiver takes that for jitter and holds everything back by 400 ms and more. A
 * picture must be stopped by its track, or else it comes back small.
 */
export class Sending {
  #track: MediaStreamTrack | null = null;
  #on = false;
  #busy = false;
  #active = true;
  #choice: Choice = "all";
  /** What the sizes are for. */
  #sized: { readonly pixels: number; readonly choice: Choice } = UNSIZED;
  #paused: readonly string[] = [];

  constructor(
    readonly sender: RTCRtpSender,
    readonly pause: Pause,
  ) {}

  /** Sends `track` while `on`, in these of its sizes. Where the browser has one encoding there is no choice. */
  send(track: MediaStreamTrack | null, on: boolean, choice: Choice = "all"): void {
    this.#track = track;
    this.#on = on;
    this.#choice = choice;
    if (!this.#busy) void this.#catchUp();
  }

  /** The names of those of several sizes that are switched off. */
  get paused(): readonly string[] {
    return this.#paused;
  }

  async #catchUp(): Promise<void> {
    this.#busy = true;
    try {
      while (!this.#isDone()) await this.#step();
    } catch {
      // The connection was closed in the meantime.
    }
    this.#busy = false;
  }

  /** Nothing is attached before the first start: a leg that is prepared while it rings has nothing to send. */
  get #wanted(): MediaStreamTrack | null {
    const keep = this.pause === "encoding" && this.sender.track !== null;
    return this.#on || keep ? this.#track : null;
  }

  get #wantedActive(): boolean {
    return this.pause === "track" || this.#on || this.#wanted === null;
  }

  #isDone(): boolean {
    const isChosen = pixelsOf(this.#wanted) === 0 || this.#sized.choice === this.#choice;
    return this.sender.track === this.#wanted && isChosen && this.#active === this.#wantedActive;
  }

  async #step(): Promise<void> {
    const pixels = pixelsOf(this.#wanted);
    if (pixels > 0 && (pixels !== this.#sized.pixels || this.#choice !== this.#sized.choice)) return this.#chooseSizes(pixels);
    if (this.sender.track !== this.#wanted) return this.#replaceTrack(this.#wanted);
    const active = this.#wantedActive;
    const parameters = this.sender.getParameters();
    for (const encoding of parameters.encodings) encoding.active = active;
    await this.sender.setParameters(parameters);
    this.#active = active;
  }

  /** Chromium fills up what several sizes leave free with padding, for two seconds more after the last picture: it is told to send nothing. */
  async #replaceTrack(track: MediaStreamTrack | null): Promise<void> {
    await this.sender.replaceTrack(track);
    const parameters = this.sender.getParameters();
    if (track !== null || parameters.encodings.length < 2) return;
    this.#sized = UNSIZED;
    for (const encoding of parameters.encodings) encoding.active = false;
    await this.#setSizes(parameters);
  }

  /** Where a picture is sent in several sizes: those that this one can have, before its first frame. */
  async #chooseSizes(pixels: number): Promise<void> {
    const choice = this.#choice;
    this.#sized = { pixels, choice };
    const parameters = this.sender.getParameters();
    if (parameters.encodings.length < 2) return;
    for (const [i, encoding] of parameters.encodings.entries()) Object.assign(encoding, sizesOf(pixels, choice)[i]);
    await this.#setSizes(parameters);
  }

  async #setSizes(parameters: RTCRtpSendParameters): Promise<void> {
    this.#paused = parameters.encodings.filter(({ active }) => !active).map(({ rid }) => rid ?? "");
    await this.sender.setParameters(parameters).catch(() => undefined);
  }
}

/** Of a picture, as far as the browser says; 0 for sound, and for nothing. */
export function pixelsOf(track: MediaStreamTrack | null): number {
  if (track?.kind !== "video") return 0;
  const { width = 1280, height = 720 } = track.getSettings();
  return width * height;
}
