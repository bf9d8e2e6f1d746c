// The transport's probe example: a service that does what a test asks of it, panics included.

import { spawn } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { ROOT } from "./server.mjs";
import { until } from "./until.mjs";

const PROBE = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug/examples/probe");

export class Probe {
  static async start() {
    const data = mkdtempSync(join(tmpdir(), "duocast-probe-"));
    // It drains when its standard input ends. A panic of a test needs no trace on the screen.
    const child = spawn(PROBE, [data], { stdio: ["pipe", "pipe", "ignore"] });
    let out = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    await until("the probe is ready", () => {
      if (child.exitCode !== null) throw new Error("the probe ended; tests/lib/build.sh builds it");
      return out.includes("\n");
    });
    const given = Object.fromEntries(out.trim().split(" ").map((word) => word.split("=")));
    return new Probe(child, data, given);
  }

  constructor(child, data, { port, ca }) {
    this.child = child;
    this.data = data;
    this.url = `https://localhost:${port}`;
    this.ca = ca;
  }

  get keyHash() {
    const key = new X509Certificate(readFileSync(this.ca)).publicKey.export({ type: "spki", format: "der" });
    return createHash("sha256").update(key).digest("base64");
  }

  remove() {
    this.child.kill();
    rmSync(this.data, { recursive: true, force: true });
  }
}
