// Sounds, all of them synthesised: ring, ringback, and the level of the microphone.

type Pattern = readonly { readonly hz: readonly number[]; readonly atMs: number; readonly forMs: number }[];

/** A rising pair of soft notes, twice, then a pause. */
const INCOMING: Pattern = [
  { hz: [523.25, 659.25], atMs: 0, forMs: 260 },
  { hz: [659.25, 783.99], atMs: 300, forMs: 420 },
  { hz: [523.25, 659.25], atMs: 950, forMs: 260 },
  { hz: [659.25, 783.99], atMs: 1250, forMs: 420 },
];
/** The European ringing tone, a little softer. */
const OUTGOING: Pattern = [{ hz: [425], atMs: 0, forMs: 1000 }];

const RINGS = {
  incoming: { pattern: INCOMING, everyMs: 3_000, gain: 0.16 },
  outgoing: { pattern: OUTGOING, everyMs: 5_000, gain: 0.06 },
} as const;

export type Ring = keyof typeof RINGS;

export class Sound {
  #context: AudioContext | null = null;
  #speakerId = "";
  #ring: { kind: Ring; timer: number; gain: GainNode } | null = null;

  /** Browsers let a page sound only after the person has touched it: call this from every click. */
  unlock(): void {
    const context = this.#open();
    if (context.state === "suspended") void context.resume();
  }

  ring(kind: Ring | null): void {
    if (this.#ring?.kind === kind || (!this.#ring && !kind)) return;
    this.#stop();
    if (!kind) return;
    const { pattern, everyMs, gain: volume } = RINGS[kind];
    const context = this.#open();
    void context.resume().catch(() => undefined);
    const gain = context.createGain();
    gain.gain.value = volume;
    gain.connect(context.destination);
    const play = (): void => {
      if (context.state === "running") schedule(context, gain, pattern);
      if (kind === "incoming") navigator.vibrate?.([300, 150, 300]);
    };
    play();
    this.#ring = { kind, gain, timer: window.setInterval(play, everyMs) };
  }

  /** A short test sound, on the chosen speaker where the browser can. */
  chime(): void {
    const context = this.#open();
    void context.resume();
    const gain = context.createGain();
    gain.gain.value = 0.16;
    gain.connect(context.destination);
    schedule(context, gain, INCOMING.slice(0, 2));
  }

  /** Sends the sounds to this speaker where the browser can; an empty id is the default. */
  useSpeaker(speakerId: string): void {
    if (this.#speakerId === speakerId) return;
    this.#speakerId = speakerId;
    if (this.#context) this.#route(this.#context);
  }

  /** Calls back with the loudness of the track, 0 to 1, about 20 times a second, until the returned function is called. */
  meter(track: MediaStreamTrack, onLevel: (level: number) => void): () => void {
    const context = this.#open();
    void context.resume();
    const source = context.createMediaStreamSource(new MediaStream([track]));
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = window.setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      onLevel(loudness(samples));
    }, 50);
    return () => {
      window.clearInterval(timer);
      source.disconnect();
    };
  }

  #open(): AudioContext {
    if (this.#context) return this.#context;
    this.#context = new AudioContext();
    if (this.#speakerId !== "") this.#route(this.#context);
    return this.#context;
  }

  #route(context: AudioContext & { setSinkId?: (id: string) => Promise<void> }): void {
    // A speaker that is not plugged in leaves the sounds where they are.
    void context.setSinkId?.(this.#speakerId).catch(() => undefined);
  }

  #stop(): void {
    if (!this.#ring) return;
    window.clearInterval(this.#ring.timer);
    this.#ring.gain.disconnect();
    if (this.#ring.kind === "incoming") navigator.vibrate?.(0);
    this.#ring = null;
  }
}

function schedule(context: AudioContext, out: AudioNode, pattern: Pattern): void {
  for (const { hz, atMs, forMs } of pattern) {
    const start = context.currentTime + 0.02 + atMs / 1000;
    const end = start + forMs / 1000;
    const envelope = context.createGain();
    envelope.gain.setValueAtTime(0, start);
    envelope.gain.linearRampToValueAtTime(1, start + 0.02);
    envelope.gain.setValueAtTime(1, end - 0.08);
    envelope.gain.linearRampToValueAtTime(0, end);
    envelope.connect(out);
    for (const frequency of hz) {
      const note = context.createOscillator();
      note.frequency.value = frequency;
      note.connect(envelope);
      note.start(start);
      note.stop(end);
    }
  }
}

/** -60 dBFS and below is 0, full scale is 1. */
function loudness(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const db = 10 * Math.log10(sum / samples.length + 1e-12);
  return Math.min(1, Math.max(0, (db + 60) / 55));
}
