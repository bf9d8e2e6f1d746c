// One Chromium with the web client, told what to do by JSON lines: browser.mjs ORIGIN CA HANDLE TOKEN
//
// $CHROMIUM is what starts it inside a home. Whatever the page received (bodies of fetch, decrypted) and every description and
// candidate that it was given or made is recorded in the page and handed out by `collect`.

import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromiumPerson, launchChromium } from "../browser/lib/chromium.mjs";
import { sendLayers } from "../browser/lib/codecs.mjs";
import { arrivals, knowNoRed } from "../browser/lib/inpage.mjs";
import { recordPage } from "../browser/lib/speech.mjs";

const [origin, ca, handle, token] = process.argv.slice(2);

/** In the page, before its own code: keeps what reaches it. */
function watch() {
  const received = [];
  const descriptions = [];
  const netlab = { received, descriptions, peers: 0, session: "", call: "", muted: "", sent: {}, clickedAt: 0, legUpMs: [] };
  Object.defineProperty(window, "netlab", { value: netlab });
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

  const plainFetch = window.fetch.bind(window);
  // Before the page does anything about it, on the clock of the captures.
  document.addEventListener("click", () => void (netlab.clickedAt = Date.now()), { capture: true });
  /** The first two fields of a command about a call: the ids of session and call. */
  const noteIds = (frame) => {
    const text = (at) => new TextDecoder().decode(frame.slice(at + 2, at + 2 + frame[at + 1]));
    netlab.session = text(5);
    netlab.call = text(7 + netlab.session.length);
  };
  window.fetch = async (...given) => {
    const [to, how] = given;
    if (netlab.muted && String(to.url ?? to).endsWith(netlab.muted)) throw new TypeError("Failed to fetch");
    const method = String(to.url ?? to).split("/").at(-1);
    if (how?.body instanceof Uint8Array) {
      if (method === "ConnectLeg" || method === "AcceptCall") noteIds(how.body);
      netlab.sent[method] = { to, how: { ...how, signal: undefined } };
    }
    const answer = await plainFetch(...given);
    const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    received.push(hex(new TextEncoder().encode(lines)));
    if (!answer.body) return answer;
    const [forPage, forUs] = answer.body.tee();
    (async () => {
      for (const reader = forUs.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) return;
        received.push(hex(value));
      }
    })().catch(() => "the page let go of it");
    return new Response(forPage, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
  };

  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) {
      super(...given);
      this.number = netlab.peers++;
      const peer = this.number;
      this.addEventListener("connectionstatechange", () => {
        if (this.connectionState !== "connected" || this.answeredAt === undefined) return;
        netlab.legUpMs.push(performance.now() - this.answeredAt);
        this.answeredAt = undefined;
      });
      this.addEventListener("icecandidate", ({ candidate }) => {
        if (candidate?.candidate) descriptions.push({ peer, side: "local", sdp: `a=${candidate.candidate}` });
      });
    }
    async setLocalDescription(...given) {
      await super.setLocalDescription(...given);
      descriptions.push({ peer: this.number, side: "local", sdp: this.localDescription?.sdp ?? "" });
    }
    setRemoteDescription(description) {
      if (description.type === "answer" && this.connectionState === "new") this.answeredAt = performance.now();
      descriptions.push({ peer: this.number, side: "remote", sdp: description.sdp ?? "" });
      return super.setRemoteDescription(description);
    }
    addIceCandidate(candidate, ...more) {
      if (candidate?.candidate) descriptions.push({ peer: this.number, side: "remote", sdp: `a=${candidate.candidate}` });
      return super.addIceCandidate(candidate, ...more);
    }
  };
}

/** In the page: every candidate that statistics know of, of all connections there were. */
async function candidates() {
  const found = [];
  for (const peer of window.peers) {
    if (peer.signalingState === "closed") continue;
    for (const entry of (await peer.getStats()).values()) {
      if (entry.type === "remote-candidate" || entry.type === "local-candidate") {
        const { address, port, candidateType, relatedAddress } = entry;
        found.push({ peer: peer.number, side: entry.type.split("-")[0], sdp: JSON.stringify({ address, port, candidateType, relatedAddress }) });
      }
    }
    const both = { local: peer.localDescription, remote: peer.remoteDescription };
    for (const [side, description] of Object.entries(both)) found.push({ peer: peer.number, side, sdp: description?.sdp ?? "" });
  }
  return found;
}

/** In the page: what each connection's packets go over, by its selected pair. */
async function transports() {
  const found = [];
  for (const peer of window.peers) {
    if (peer.connectionState !== "connected") continue;
    const all = await peer.getStats();
    const transport = [...all.values()].find((entry) => entry.type === "transport");
    const pair = all.get(transport?.selectedCandidatePairId);
    const local = all.get(pair?.localCandidateId);
    found.push(local?.relayProtocol ?? local?.protocol ?? "");
  }
  return found;
}

/** In the page: sends the command of this method that was remembered once more, as it was; gives its gRPC status. */
async function replay(method) {
  const { to, how } = window.netlab.remembered[method];
  const answer = await fetch(to, how);
  const body = new TextDecoder("latin1").decode(await answer.arrayBuffer());
  return answer.headers.get("grpc-status") ?? /grpc-status: ?(\d+)/i.exec(body)?.[1] ?? "none";
}

/** What is counted while something is recorded ends so long before that. */
const COUNTED_BEFORE_MS = 500;

let browser, person;
let kept = { received: [], descriptions: [] };

/** Takes what is there in the page: a reload or the end of a call would lose it. */
async function keep() {
  const now = await person.page.evaluate(() => {
    const { received, descriptions } = window.netlab;
    return { received: received.splice(0), descriptions: descriptions.splice(0) };
  });
  kept.received.push(...now.received);
  kept.descriptions.push(...now.descriptions, ...(await person.page.evaluate(candidates)));
}

const acts = {
  async open({ camera, layers, wav, plainSound } = {}) {
    const key = new X509Certificate(readFileSync(ca)).publicKey.export({ type: "spki", format: "der" });
    browser = await launchChromium({ wav, trustKey: createHash("sha256").update(key).digest("base64") });
    const context = await browser.newContext({ viewport: { width: 900, height: 700 }, reducedMotion: "reduce" });
    await context.addInitScript(watch);
    if (layers) await context.addInitScript(sendLayers, layers);
    if (plainSound) await context.addInitScript(knowNoRed);
    const server = { link: async () => `${origin}/#token=${token}` };
    person = await chromiumPerson(browser, server, handle, { context, camera, rawMic: wav !== undefined });
  },
  calls: ({ callee, video = true }) => person.calls(callee, { video }),
  rings: () => person.rings(),
  accepts: ({ video = true }) => person.accepts({ video }),
  live: async () => void (await person.isLive()),
  receives: async ({ video = true }) => void (await person.receives({ video })),
  click: ({ target }) => person.click(target),
  ended: () => person.ended(),
  closesEnded: () => person.closesEnded(),
  home: () => person.backHome(),
  state: () => person.state(),
  stats: () => person.stats(),
  reads: ({ target, attribute = null }) => person.read(target, attribute),
  online: () => person.online().then(() => true),
  offline: ({ yes }) => person.context.setOffline(yes),
  networkChanged: () => person.page.evaluate(() => void window.dispatchEvent(new Event("online"))),
  ids: () => person.page.evaluate(() => ({ session: window.netlab.session, call: window.netlab.call })),
  clickedAt: () => person.page.evaluate(() => window.netlab.clickedAt),
  remember: () => person.page.evaluate(() => void (window.netlab.remembered = { ...window.netlab.sent })),
  replay: ({ method }) => person.page.evaluate(replay, method),
  touched: () => person.page.evaluate(() => ({ peers: window.netlab.peers, devices: window.devices.asked })),
  transports: () => person.page.evaluate(transports),
  legUpMs: () => person.page.evaluate(() => window.netlab.legUpMs),
  /** What comes in so many seconds by the server or directly: the microphone and the loudspeaker as WAV files, and what is counted. */
  async listens({ span, direct, said, heard }) {
    const before = await person.page.evaluate(arrivals, direct);
    const recordings = [recordPage(person, span, said, { own: true, direct }), recordPage(person, span, heard, { direct })];
    // Before the recordings are packed up: that stands in the page's way, and the sound of both is made up for as long.
    const counted = new Promise((done) => setTimeout(done, 1000 * span - COUNTED_BEFORE_MS)).then(() => person.page.evaluate(arrivals, direct));
    const [after, saidAtMs, heardAtMs] = await Promise.all([counted, ...recordings]);
    return { before, after, saidAtMs, heardAtMs };
  },
  mutes: ({ path }) => person.page.evaluate((path) => void (window.netlab.muted = path), path),
  shows: ({ target }) => person.shows(target),
  keep,
  async collect() {
    await keep();
    const all = kept;
    kept = { received: [], descriptions: [] };
    return all;
  },
  async close() {
    await browser?.close();
    setTimeout(() => process.exit(0), 50);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: what, ...more } = JSON.parse(line);
  Promise.resolve()
    .then(() => acts[what](more))
    .then((ok) => ({ id, ok: ok ?? null }), (error) => ({ id, error: error.message }))
    .then((answer) => console.log(JSON.stringify(answer)));
}
await browser?.close();
