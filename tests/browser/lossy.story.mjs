// Speech between two Chromium where packets get lost. tests/lossy.sh runs it, in a network of its own that loses them.

import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { Server } from "./lib/server.mjs";
import { recordPage, score, speak } from "./lib/speech.mjs";
import { figure, until } from "./lib/until.mjs";

/** The speech lasts 10.7 s and loops, so a whole one is inside twice that. */
const LISTEN_S = 23;
/** Browsers report on sound every five seconds, and the router every second. */
const ADAPTS_MS = 30_000;
/** Without loss it is the same story, for comparison: nothing is redundant. */
const LOSES = process.env.LOSS !== "0";
/** Plain sound has 60 to 80 bytes a packet, redundant sound twice as much, and what the router makes of it three times. */
const REDUNDANT_BYTES_MIN = 100;
const TWICE_BYTES_MIN = 180;

let server, folder;
const people = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "duocast-lossy-"));
  server = await Server.start();
  for (const [handle, voice] of [["alice", "female"], ["bob", "male"]]) {
    const speech = await speak(folder, voice);
    const browser = await launchChromium({ wav: speech });
    const person = await chromiumPerson(browser, server, handle, { rawMic: true });
    people.push({ person, browser, speech, heard: join(folder, `${handle}-heard.wav`) });
  }
});

after(async () => {
  await Promise.all(people.map(({ browser }) => browser.close()));
  await server?.remove();
  rmSync(folder, { recursive: true, force: true });
});

/** Whether this page sends redundant sound, what it sent, and what came of the other's: packets, those lost, bytes, and what was made up. */
function sound(person) {
  return person.page.evaluate(async () => {
    const peer = window.peers.at(-1);
    const report = [...(await peer.getStats()).values()];
    const into = report.find((entry) => entry.type === "inbound-rtp" && entry.kind === "audio") ?? {};
    const out = report.find((entry) => entry.type === "outbound-rtp" && entry.kind === "audio") ?? {};
    // Chromium sends redundant sound where that was agreed on before plain one.
    const sender = peer.getSenders().find(({ track }) => track?.kind === "audio");
    const sendsRed = sender?.getParameters().codecs[0]?.mimeType === "audio/red";
    const concealed = (into.concealedSamples ?? 0) - (into.silentConcealedSamples ?? 0);
    const made = { concealed, samples: into.totalSamplesReceived, held: into.jitterBufferDelay, emitted: into.jitterBufferEmittedCount };
    return { ...made, sendsRed, sent: out.packetsSent, sentBytes: out.bytesSent, packets: into.packetsReceived, lost: into.packetsLost, receivedBytes: into.bytesReceived };
  });
}

test("where packets get lost each carries those before as well, and speech is heard well", async () => {
  const [alice, bob] = people;
  await alice.person.calls("bob", { video: false });
  await bob.person.accepts({ video: false });
  await Promise.all([alice.person.isLive(), bob.person.isLive()]);
  for (const { person } of people.filter(() => LOSES)) {
    await until(`${person.handle} sends redundant sound`, async () => (await sound(person)).sendsRed, ADAPTS_MS);
  }
  const before = await Promise.all(people.map(({ person }) => sound(person)));
  await Promise.all(people.map(({ person, heard }) => recordPage(person, LISTEN_S, heard)));
  const now = await Promise.all(people.map(({ person }) => sound(person)));
  for (const [n, { person, heard }] of people.entries()) {
    const lost = now[n].lost - before[n].lost;
    const all = now[n].packets - before[n].packets + lost;
    const sizeOfReceived = (now[n].receivedBytes - before[n].receivedBytes) / (all - lost);
    const size = (now[n].sentBytes - before[n].sentBytes) / (now[n].sent - before[n].sent);
    assert.equal(size > REDUNDANT_BYTES_MIN, LOSES, `${person.handle} sent ${size.toFixed(0)} bytes a packet`);
    assert.equal(sizeOfReceived > TWICE_BYTES_MIN, LOSES, `${person.handle} got ${sizeOfReceived.toFixed(0)} bytes a packet`);
    const grown = (name) => now[n][name] - before[n][name];
    const madeUp = `${((100 * grown("concealed")) / grown("samples")).toFixed(2)} % of the sound made up, ${((1000 * grown("held")) / grown("emitted")).toFixed(0)} ms in the jitter buffer`;
    figure(`${person.handle} lost ${((100 * lost) / all).toFixed(1)} % of ${all} packets; ${madeUp}; ${await score(people[1 - n].speech, heard)}`);
  }
});
