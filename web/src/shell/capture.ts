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
  deviceId: string;
  /** Names the latest request; what an older one brings is closed again. */
  request: number;
}

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

  /**
   * Opens the device if it is off, or another one if `deviceId` has changed. An empty id is the system's default. One
   * that failed stays so until `retry`: a person who said no must not be asked again and again.
   */
  async open(kind: Kind, deviceId: string): Promise<void> {
    const input = this.#inputs[kind];
    if (input.state !== "off" && input.deviceId === deviceId) return;
    const request = ++input.request;
    this.#set(kind, { state: "opening", deviceId });
    const opened = await openDevice(kind, deviceId);
    if (input.request !== request) {
      opened.track?.stop();
      return;
    }
    opened.track?.addEventListener("ended", () => this.#lost(kind, opened.track));
    input.track?.stop();
    this.#set(kind, opened);
  }

  close(kind: Kind): void {
    const input = this.#inputs[kind];
    if (input.state === "off") return;
    input.request += 1;
    input.track?.stop();
    this.#set(kind, { state: "off", track: null });
  }

  /** Lets the next `open` try a failed device again; one that is on is left alone. */
  retry(kind: Kind): void {
    const input = this.#inputs[kind];
    if (!["on", "opening", "off"].includes(input.state)) this.#set(kind, { state: "off", track: null });
  }

  #lost(kind: Kind, track: MediaStreamTrack | null): void {
    // Unplugged, or taken away in the browser's settings.
    if (this.#inputs[kind].track === track) this.#set(kind, { state: "missing", track: null });
  }

  #set(kind: Kind, change: Partial<Input>): void {
    Object.assign(this.#inputs[kind], change);
    this.onChange();
  }
}

function newInput(): Input {
  return { state: "off", track: null, deviceId: "", request: 0 };
}

interface Opened {
  readonly state: DeviceState;
  readonly track: MediaStreamTrack | null;
}

async function openDevice(kind: Kind, deviceId: string): Promise<Opened> {
  if (!navigator.mediaDevices?.getUserMedia) return { state: "insecure", track: null };
  // "ideal" and not "exact": a chosen device that is not plugged in must not cost the call.
  const device = deviceId === "" ? {} : { deviceId: { ideal: deviceId } };
  try {
    const stream = await navigator.mediaDevices.getUserMedia(
      kind === "mic" ? { audio: device } : { video: { ...VIDEO, ...device } },
    );
    return { state: "on", track: stream.getTracks()[0] ?? null };
  } catch (error) {
    return { state: stateOf(error), track: null };
  }
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
