// Speech to call with, the SDK's headless call, and the score of what was heard.

import { execFile, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { DUOCAST, ROOT } from "./server.mjs";
import { recordSound } from "./inpage.mjs";
import { IS_JUDGED, until, within } from "./until.mjs";

const run = promisify(execFile);

/** Speech as a WAV file in `folder`. */
export async function speak(folder, voice) {
  const file = join(folder, `${voice}.wav`);
  await run(join(ROOT, "tests/score/speech.sh"), [file, voice]);
  return file;
}

/** PESQ-wb where quality is judged. */
const PESQ_MIN = 3.5;
/** Elsewhere this share of the parts of speech must be heard: a machine that stands still cuts most, and makes none up. */
const PARTS_MIN = 0.3;

/** How much of `reference` is heard in `recording`, and how well, in words; fails if that is too little. */
export async function score(reference, recording) {
  const python = join(ROOT, ".venv/bin/python");
  const tool = join(ROOT, "tests/score/pesq_score.py");
  const judged = IS_JUDGED ? ["--min", String(PESQ_MIN)] : ["--parts", String(PARTS_MIN)];
  const { stdout } = await run(python, [tool, reference, recording, ...judged], { timeout: 60_000 });
  return stdout.trim();
}

/** `duocast call`, running. */
export class HeadlessCall {
  constructor(server, args) {
    const here = ["--url", server.url, "--data-dir", server.data];
    this.child = spawn(DUOCAST, ["call", ...here, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    this.told = "";
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (chunk) => (this.told += chunk));
    this.exit = new Promise((done) => this.child.once("close", (code, signal) => done(code ?? signal)));
  }

  says(words) {
    return until(`duocast call says "${words}"`, () => {
      if (this.told.includes(words)) return true;
      if (this.child.exitCode !== null) throw new Error(`duocast call ended before "${words}":\n${this.told}`);
      return false;
    });
  }

  /** Its exit code, when it has ended by itself. */
  async ended(ms) {
    return within("duocast call", ms, this.exit);
  }

  async remove() {
    if (this.child.exitCode === null) this.child.kill("SIGKILL");
    await this.exit;
  }
}

/**
 * Records `seconds` of what a page hears, or of what else `which` says (`recordSound`), into a WAV file; gives when it began. A loaded
 * machine may play them more slowly than they passed.
 */
export async function recordPage(person, seconds, file, which = {}) {
  const recording = person.browser.evaluate(recordSound, { seconds, ...which });
  const { base64, rate, beganAtMs } = await within("the recording in the page", 4 * seconds * 1000, recording);
  writeFileSync(file, wav(Buffer.from(base64, "base64"), rate));
  return beganAtMs;
}

/** 16-bit mono samples as a WAV file (RIFF, format 1). */
function wav(samples, rate) {
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + samples.length, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(rate * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write("data", 36);
  head.writeUInt32LE(samples.length, 40);
  return Buffer.concat([head, samples]);
}
