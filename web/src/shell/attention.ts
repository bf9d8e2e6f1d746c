// Gets the person's attention for a ringing call in a tab that may be out of sight, and keeps the screen on in a call.

export interface Alert {
  readonly title: string;
  readonly body: string;
  /** Names the call: a new one is announced anew. */
  readonly key: string;
}

const FLASH_EVERY_MS = 1_000;

export class Attention {
  readonly #title = document.title;
  #shown: { key: string; timer: number; note: Notification | null } | null = null;
  #wakeLock: WakeLockSentinel | null = null;
  #awake = false;

  constructor() {
    document.addEventListener("visibilitychange", () => void this.#holdWakeLock());
  }

  get permission(): NotificationPermission | "unsupported" {
    return "Notification" in window ? Notification.permission : "unsupported";
  }

  async ask(): Promise<void> {
    if ("Notification" in window) await Notification.requestPermission();
  }

  show(alert: Alert | null): void {
    if (this.#shown?.key === alert?.key) return;
    if (this.#shown) {
      window.clearInterval(this.#shown.timer);
      this.#shown.note?.close();
      document.title = this.#title;
      this.#shown = null;
    }
    if (!alert) return;
    const flash = (): void => {
      document.title = document.title === alert.title ? this.#title : alert.title;
    };
    flash();
    this.#shown = { key: alert.key, timer: window.setInterval(flash, FLASH_EVERY_MS), note: this.#notify(alert) };
  }

  keepAwake(awake: boolean): void {
    if (awake === this.#awake) return;
    this.#awake = awake;
    void this.#holdWakeLock();
  }

  #notify({ title, body, key }: Alert): Notification | null {
    if (this.permission !== "granted" || !document.hidden) return null;
    try {
      const note = new Notification(title, { body, tag: key, requireInteraction: true });
      note.addEventListener("click", () => window.focus());
      return note;
    } catch {
      // Phones allow notifications from service workers only.
      return null;
    }
  }

  /** The browser drops the lock whenever the page is hidden, so it is asked for again. */
  async #holdWakeLock(): Promise<void> {
    try {
      if (this.#awake && !document.hidden) this.#wakeLock = (await navigator.wakeLock?.request("screen")) ?? null;
      else await this.#wakeLock?.release();
    } catch {
      // Low battery: the screen goes dark as usual.
    }
  }
}
