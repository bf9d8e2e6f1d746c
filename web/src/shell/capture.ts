// Microphone and camera: opened only when the person has taken part in a call or tests them, and closed right after.

/** What became of one device. */
export type DeviceState =
  | "off"
  | "opening"
  | "on"
  /** The person or the system said no. */
  | "denied"
  /** There is none. */
  | "missing"
  /** Another program holds it. */
  | "busy"
  /** The page is not on https or localhost, where browsers give no devices. */
  | "insecure"
  | "failed";

export type Kind = "mic" | "cam";

interface Input {
  state: DeviceState;
  track: MediaStreamTrack | null;
  /** What was asked for. */
  deviceId: string;
  /** The name of another device that the browser took; null for none. */
  instead: string | null;
  openedAt: number;
  /** Names the latest request; what an older one brings is closed again. */
  request: number;
}

/** A device that is lost sooner after it was opened is not opened again by itself: it would go round and round. */
const LIVED_MS_MIN = 1_000;

const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };

export class Capture {
  readonly #inputs: Record<Kind, Input> = { mic: newInput(), cam: newInput() };

  constructor(readonly onChange: () => void) {}

  state(kind: Kind): DeviceState {
    return this.#inputs[kind].state;
  }

  track(kind: Kind): MediaStreamTrack | null {
    return this.#inputs[kind].track;
  }

  /** The name of what is in use instead of the chosen device, if that one is not in this list; null for none. */
  substitute(kind: Kind, devices: readonly DeviceChoice[]): string | null {
    const { deviceId, instead } = this.#inputs[kind];
    // Without a list nothing is known; and in some browsers a person may choose another one of it when asked.
    return devices.length === 0 || devices.some(({ id }) => id === deviceId) ? null : instead;
  }

  /**
   * Opens the device if it is off, or another one if `deviceId` has changed. An empty id is the system's default. One
   * that failed stays so until `retry`: a person who said no must not be asked again and again.
   */
  async open(kind: Kind, deviceId: string): Promise<void> {
    const input = this.#inputs[kind];
    if (input.state !== "off" && input.deviceId === deviceId) return;
    return this.#open(kind, deviceId);
  }

  /** The list has changed: a chosen device that is back takes the place of its substitute. */
  plugged(kind: Kind, before: readonly DeviceChoice[], now: readonly DeviceChoice[]): void {
    const { state, deviceId } = this.#inputs[kind];
    const isBack = this.substitute(kind, before) !== null && now.some(({ id }) => id === deviceId);
    if (state === "on" && isBack) void this.#open(kind, deviceId, { orKeep: true });
  }

  /** With `orKeep` the present device stays in use if the other one cannot be opened: one just plugged in may be busy. */
  async #open(kind: Kind, deviceId: string, { orKeep = false } = {}): Promise<void> {
    const input = this.#inputs[kind];
    const request = ++input.request;
    this.#set(kind, { state: "opening", deviceId });
    const opened = await openDevice(kind, deviceId);
    if (input.request !== request) {
      opened.track?.stop();
      return;
    }
    if (orKeep && !opened.track && input.track?.readyState === "live") {
      this.#set(kind, { state: "on" });
      return;
    }
    opened.track?.addEventListener("ended", () => this.#lost(kind, opened.track));
    input.track?.stop();
    this.#set(kind, { ...opened, openedAt: performance.now() });
  }

  close(kind: Kind): void {
    const input = this.#inputs[kind];
    if (input.state === "off") return;
    input.request += 1;
    input.track?.stop();
    this.#set(kind, { state: "off", track: null, instead: null });
  }

  /** Lets the next `open` try a failed device again; one that is on is left alone. */
  retry(kind: Kind): void {
    const input = this.#inputs[kind];
    if (!["on", "opening", "off"].includes(input.state)) this.#set(kind, { state: "off", track: null });
  }

  #lost(kind: Kind, track: MediaStreamTrack | null): void {
    const input = this.#inputs[kind];
    if (input.track !== track) return;
    // Unplugged, or taken away in the browser's settings. Off is opened anew: with another device, or with why there is none.
    const state = performance.now() - input.openedAt > LIVED_MS_MIN ? "off" : "missing";
    this.#set(kind, { state, track: null, instead: null });
  }

  #set(kind: Kind, change: Partial<Input>): void {
    Object.assign(this.#inputs[kind], change);
    this.onChange();
  }
}

function newInput(): Input {
  return { state: "off", track: null, deviceId: "", instead: null, openedAt: 0, request: 0 };
}

interface Opened {
  readonly state: DeviceState;
  readonly track: MediaStreamTrack | null;
  readonly instead: string | null;
}

async function openDevice(kind: Kind, deviceId: string): Promise<Opened> {
  if (!navigator.mediaDevices?.getUserMedia) return { state: "insecure", track: null, instead: null };
  try {
    const stream = await ask(kind, deviceId);
    const track = stream.getTracks()[0] ?? null;
    return { state: "on", track, instead: another(deviceId, track) };
  } catch (error) {
    return { state: stateOf(error), track: null, instead: null };
  }
}

/** Chromium 156 gives the default device where the chosen one is only "ideal". One that is not plugged in must not cost the call. */
async function ask(kind: Kind, deviceId: string): Promise<MediaStream> {
  const open = (device: MediaTrackConstraints): Promise<MediaStream> =>
    navigator.mediaDevices.getUserMedia(kind === "mic" ? { audio: device } : { video: { ...VIDEO, ...device } });
  if (deviceId === "") return open({});
  try {
    return await open({ deviceId: { exact: deviceId } });
  } catch (error) {
    if (stateOf(error) === "missing") return open({});
    throw error;
  }
}

function another(chosen: string, track: MediaStreamTrack | null): string | null {
  const taken = track?.getSettings().deviceId ?? "";
  return chosen !== "" && taken !== "" && taken !== chosen ? (track?.label ?? "") : null;
}

function stateOf(error: unknown): DeviceState {
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return "denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "missing";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    default:
      return "failed";
  }
}

export interface DeviceChoice {
  readonly id: string;
  readonly label: string;
}

export interface DeviceLists {
  readonly mics: readonly DeviceChoice[];
  readonly cams: readonly DeviceChoice[];
  readonly speakers: readonly DeviceChoice[];
}

export const NO_DEVICES: DeviceLists = { mics: [], cams: [], speakers: [] };

/** What can be chosen. Browsers name devices only once one of them was opened. */
export async function listDevices(): Promise<DeviceLists> {
  if (!navigator.mediaDevices?.enumerateDevices) return NO_DEVICES;
  const all = await navigator.mediaDevices.enumerateDevices();
  const of = (kind: MediaDeviceKind): DeviceChoice[] =>
    all
      .filter((device) => device.kind === kind && device.deviceId !== "" && device.deviceId !== "default")
      .map((device) => ({ id: device.deviceId, label: device.label }));
  return { mics: of("audioinput"), cams: of("videoinput"), speakers: of("audiooutput") };
}
