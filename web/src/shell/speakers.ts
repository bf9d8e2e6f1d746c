// Plays the sound of a call: one element for each path, of which one is heard. Both play, so that changing over is
// setting two flags.

import type { Path } from "../core/direct";

export class Speakers {
  readonly #elements: Record<Path, HTMLAudioElement> = { routed: new Audio(), direct: new Audio() };
  #speakerId = "";
  #blocked = false;

  constructor(readonly onChange: () => void) {
    for (const element of Object.values(this.#elements)) element.autoplay = false;
    this.#elements.direct.muted = true;
  }

  /** The browser will not play the call before the person has touched the page. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** Null plays nothing on this path. */
  play(path: Path, stream: MediaStream | null): void {
    const element = this.#elements[path];
    if (element.srcObject === stream) return;
    element.srcObject = stream;
    if (stream) void this.#start(element);
  }

  /** Lets one path be heard and silences the other. */
  hear(path: Path): void {
    const other: Path = path === "direct" ? "routed" : "direct";
    if (!this.#elements[path].muted) return;
    this.#elements[path].muted = false;
    this.#elements[other].muted = true;
  }

  useSpeaker(speakerId: string): void {
    if (this.#speakerId === speakerId) return;
    // Remembered although it may fail: a speaker that is not plugged in is not asked for again and again.
    this.#speakerId = speakerId;
    for (const element of Object.values(this.#elements)) {
      if ("setSinkId" in element) void element.setSinkId(speakerId).catch(() => undefined);
    }
  }

  /** Plays what was blocked; call it from a click. */
  unblock(): void {
    for (const element of Object.values(this.#elements)) if (element.srcObject) void this.#start(element);
  }

  async #start(element: HTMLAudioElement): Promise<void> {
    let blocked = false;
    try {
      await element.play();
    } catch (error) {
      blocked = error instanceof DOMException && error.name === "NotAllowedError";
    }
    // A muted element may always play: only one that is heard tells.
    if (element.muted || blocked === this.#blocked) return;
    this.#blocked = blocked;
    this.onChange();
  }
}
