// One Chromium with the web client, told what to do by JSON lines: browser.mjs ORIGIN CA HANDLE TOKEN
//
// $CHROMIUM is what starts it inside a home. Whatever the page received (bodies of fetch, decrypted) and every description and
// candidate that it was given or made is recorded in the page and handed out by `collect`.

import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromiumPerson, launchChromium } from "../browser/lib/chromium.mjs";

const [origin, ca, handle, token] = process.argv.slice(2);

/** In the page, before its own code: keeps what reaches it. */
function watch() {
  const received = [];
  const descriptions = [];
  Object.defineProperty(window, "netlab", { value: { received, descriptions } });
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

  const plainFetch = window.fetch.bind(window);
  window.fetch = async (...given) => {
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
      this.addEventListener("icecandidate", ({ candidate }) => {
        if (candidate?.candidate) descriptions.push({ side: "local", sdp: `a=${candidate.candidate}` });
      });
    }
    async setLocalDescription(...given) {
      await super.setLocalDescription(...given);
      descriptions.push({ side: "local", sdp: this.localDescription?.sdp ?? "" });
    }
    setRemoteDescription(description) {
      descriptions.push({ side: "remote", sdp: description.sdp ?? "" });
      return super.setRemoteDescription(description);
    }
    addIceCandidate(candidate, ...more) {
      if (candidate?.candidate) descriptions.push({ side: "remote", sdp: `a=${candidate.candidate}` });
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
        found.push({ side: entry.type.split("-")[0], sdp: JSON.stringify({ address, port, candidateType, relatedAddress }) });
      }
    }
    found.push({ side: "local", sdp: peer.localDescription?.sdp ?? "" }, { side: "remote", sdp: peer.remoteDescription?.sdp ?? "" });
  }
  return found;
}

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
  async open() {
    const key = new X509Certificate(readFileSync(ca)).publicKey.export({ type: "spki", format: "der" });
    browser = await launchChromium({ trustKey: createHash("sha256").update(key).digest("base64") });
    const context = await browser.newContext({ viewport: { width: 900, height: 700 }, reducedMotion: "reduce" });
    await context.addInitScript(watch);
    const server = { link: async () => `${origin}/#token=${token}` };
    person = await chromiumPerson(browser, server, handle, { context });
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
  reads: ({ target, attribute = null }) => person.read(target, attribute),
  online: () => person.online().then(() => true),
  offline: ({ yes }) => person.context.setOffline(yes),
  networkChanged: () => person.page.evaluate(() => void window.dispatchEvent(new Event("online"))),
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
