// What a screen reader is told in a call of what the eyes see by a changed button or a clock that begins to run.

/** What of a call is spoken when it changes. */
export interface Audible {
  /** Sound goes both ways. */
  readonly connected: boolean;
  readonly mic: boolean;
  readonly cam: boolean;
}

export type Announcement = "connected" | "muted" | "unmuted" | "camera_on" | "camera_off";

/** The next thing to say; "" takes back what was said and is no longer true, null leaves it. */
export function announce(before: Audible, now: Audible): Announcement | "" | null {
  if (!now.connected) return before.connected ? "" : null;
  if (!before.connected) return now.mic ? "connected" : "muted";
  if (before.mic !== now.mic) return now.mic ? "unmuted" : "muted";
  if (before.cam !== now.cam) return now.cam ? "camera_on" : "camera_off";
  return null;
}
