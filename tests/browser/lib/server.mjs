// A server of our own on free ports, with what a test wants to know of it from outside.

import { execFile, spawn } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, openSync, closeSync } from "node:fs";
import { createSocket } from "node:dgram";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { until } from "./until.mjs";

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
export const DUOCAST = resolve(ROOT, process.env.TEST_DUOCAST ?? "target/debug/duocast");

/** A debug build on a loaded machine needs seconds to be ready. */
const READY_MS = 20_000;
/** Its drain takes at most ten seconds. */
const STOP_MS = 15_000;

const run = promisify(execFile);

// The stories ring the same people far more often than people do.
const OFTEN = Object.fromEntries(
  ["RINGS_BY_CALLER", "RINGS_TO_CALLEE", "RINGS_OF_PAIR", "LEGS", "DIRECT"].map((rate) => [
    `DUOCAST_CALLS__RATES__${rate}`,
    "{burst=1000,every_ms=10}",
  ]),
);

export class Server {
  /** Starts one. `data` keeps a former one's accounts; `listen`, `http` and `media` are port numbers, 0 for any. */
  static async start({ listen = 0, http = 0, media = 0, data = mkdtempSync(join(tmpdir(), "duocast-")), args = [] } = {}) {
    const log = join(data, "server.log");
    const file = openSync(log, "a");
    const both = (flag, port) => [flag, `127.0.0.1:${port}`, flag, `[::1]:${port}`];
    const flags = ["--demo", "--json", "--data-dir", data, "--media-port", String(media), "--log-level", "info"];
    const child = spawn(DUOCAST, ["up", ...flags, ...both("--listen", listen), ...both("--http", http), ...args], {
      stdio: ["ignore", "pipe", file],
      env: { ...OFTEN, ...process.env },
    });
    closeSync(file);
    const gone = new Promise((done) => child.once("close", done));
    let out = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    await until("the server is ready", () => {
      if (child.exitCode !== null) throw new Error(`the server ended:\n${readFileSync(log, "utf8")}`);
      return out.includes("\n");
    }, READY_MS).catch((error) => {
      child.kill("SIGKILL");
      throw error;
    });
    return new Server(JSON.parse(out), { child, gone, data, log });
  }

  constructor(ready, process) {
    /** `https://localhost:PORT` of the API, `http://localhost:PORT` of the page. */
    this.url = ready.url;
    this.page = ready.page;
    this.ca = ready.ca;
    this.process = process;
    this.data = process.data;
    this.pid = process.child.pid;
  }

  get ports() {
    return { listen: Number(new URL(this.url).port), http: Number(new URL(this.page).port) };
  }

  /** Chromium's name for the server's key, for --ignore-certificate-errors-spki-list. */
  get keyHash() {
    const key = new X509Certificate(readFileSync(this.ca)).publicKey.export({ type: "spki", format: "der" });
    return createHash("sha256").update(key).digest("base64");
  }

  async ctl(...args) {
    const { stdout } = await run(DUOCAST, ["ctl", ...args], { timeout: 15_000 });
    return stdout.trim();
  }

  /** A new account that is a mutual contact of `friends`. */
  async account(handle, friends) {
    const here = ["--url", this.url, "--data-dir", this.data];
    await this.ctl("account", handle, ...here);
    for (const friend of friends) await this.ctl("follow", handle, friend, "--mutual", ...here);
  }

  token(handle) {
    return this.ctl("token", handle, "--data-dir", this.data);
  }

  /** Signs `handle` in at the page: over plain HTTP on localhost, or at another of its addresses. */
  async link(handle, origin = this.page) {
    return `${origin}/#token=${await this.token(handle)}`;
  }

  /** One value of /metrics; 0 where it was never counted. */
  async metric(name) {
    const text = await (await fetch(`${this.page}/metrics`)).text();
    const line = text.split("\n").find((one) => one.startsWith(`${name} `));
    return line ? Number(line.split(" ")[1]) : 0;
  }

  /** The UDP ports that the process holds, as the kernel tells it. */
  udpPorts() {
    const sockets = new Set();
    for (const fd of readdirSync(`/proc/${this.pid}/fd`)) {
      try {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${this.pid}/fd/${fd}`));
        if (inode) sockets.add(inode[1]);
      } catch {
        // Closed in the meantime.
      }
    }
    const ports = new Set();
    for (const table of ["udp", "udp6"]) {
      for (const line of readFileSync(`/proc/net/${table}`, "utf8").trim().split("\n").slice(1)) {
        const field = line.trim().split(/\s+/);
        if (sockets.has(field[9])) ports.add(parseInt(field[1].split(":").pop(), 16));
      }
    }
    return ports;
  }

  logged() {
    return readFileSync(this.process.log, "utf8");
  }

  /** As a power cut would. The data stays. */
  async kill() {
    this.process.child.kill("SIGKILL");
    await this.process.gone;
  }

  /** Asks it to drain and stop; gives its exit code. */
  async drain() {
    this.process.child.kill("SIGTERM");
    await until("the server stopped", () => this.process.child.exitCode !== null || this.process.child.signalCode !== null, STOP_MS);
    return this.process.child.exitCode;
  }

  /** Ends it, whatever it does, and removes its data. */
  async remove() {
    if (this.process.child.exitCode === null) await this.kill();
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** `count` UDP ports in a row that were free a moment ago. */
export async function freeUdpPorts(count) {
  for (let tries = 0; tries < 20; tries += 1) {
    const first = createSocket("udp4");
    await new Promise((done) => first.bind(0, done));
    const start = first.address().port;
    const rest = await Promise.all(Array.from({ length: count - 1 }, (_, i) => free(start + i + 1)));
    await new Promise((done) => first.close(done));
    if (rest.every(Boolean)) return start;
  }
  throw new Error(`no ${count} free UDP ports in a row`);
}

function free(port) {
  return new Promise((done) => {
    const socket = createSocket("udp4");
    socket.once("error", () => done(false));
    socket.bind(port, () => socket.close(() => done(true)));
  });
}
