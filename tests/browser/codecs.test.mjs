// Every video codec that the router forwards, spoken by two Chromium: each offers one codec alone, as another browser might.

import { strict as assert } from "node:assert";
import { after, afterEach, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { losePictures, offerOnly, videoStreams } from "./lib/codecs.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { Server } from "./lib/server.mjs";
import { figure, until } from "./lib/until.mjs";

const CODECS = ["VP8", "VP9", "H264", "AV1"];
/** What is forwarded is under test, not how fast a machine encodes AV1. */
const CAMERA = { width: 320, height: 180 };

let server, browser;
const people = [];
let pairs = 0;

before(async () => {
  server = await Server.start();
  browser = await launchChromium();
});

afterEach(async () => {
  await Promise.all(people.splice(0).map((person) => person.close()));
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

/** Somebody whose browser has only this video codec; null for all that it has. */
async function speaker(handle, codec) {
  // The worker of the test is none of the page's own.
  const options = { bypassCSP: true };
  const person = await chromiumPerson(browser, server, handle, { options, init: [offerOnly, codec], camera: CAMERA });
  people.push(person);
  return person;
}

/** Two people whom no other story has met: what one of those left behind would be in the way. */
async function pair(hers, his) {
  pairs += 1;
  const [ann, ben] = [`ann${pairs}`, `ben${pairs}`];
  await server.account(ben, []);
  await server.account(ann, [ben]);
  return [await speaker(ann, hers), await speaker(ben, his)];
}

/** Packets that no codec of the other side fits. */
async function heldBack() {
  const text = await (await fetch(`${server.page}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith("duocast_router_packets_dropped_total") && line.includes("no_common_codec"));
  return lines.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0);
}

const streams = (person) => person.browser.evaluate(videoStreams);

test("this Chromium encodes and decodes each of them", async () => {
  const page = await browser.newPage();
  await page.goto(server.page);
  const has = await page.evaluate(() =>
    [RTCRtpSender, RTCRtpReceiver].map((side) => [...new Set(side.getCapabilities("video").codecs.map(({ mimeType }) => mimeType))]),
  );
  await page.close();
  for (const codecs of has) for (const codec of CODECS) assert.ok(codecs.includes(`video/${codec}`), `${codec} in ${codecs}`);
});

for (const codec of CODECS) {
  test(`${codec} goes through the router both ways, and on after a lost key frame`, async () => {
    const [ann, ben] = await pair(codec, codec);
    await callBetween(ann, ben);
    for (const person of [ann, ben]) {
      const { offered, inbound, outbound } = await streams(person);
      assert.deepEqual(offered, [codec, "rtx"], `${person.handle} offers nothing else`);
      assert.deepEqual([inbound.codec, outbound.codec], [`video/${codec}`, `video/${codec}`], person.handle);
      assert.ok(inbound.keyFramesDecoded > 0, "it began with a key frame");
    }
    const before = { ann: await streams(ann), ben: await streams(ben) };
    await ben.browser.evaluate(losePictures);
    const healed = await until(`ben sees ${codec} again after a lost key frame`, async () => {
      const { inbound, lost } = await streams(ben);
      return lost.keyFrames === 1 && inbound.framesDecoded > before.ben.inbound.framesDecoded + 20 && { inbound, lost };
    });
    const asked = (await streams(ann)).outbound.pliCount - before.ann.outbound.pliCount;
    assert.ok(healed.inbound.keyFramesDecoded > before.ben.inbound.keyFramesDecoded, "by a key frame");
    // Two as a rule, for the lost one and for the next; a sender may make one of its own accord.
    assert.ok(healed.inbound.pliCount > before.ben.inbound.pliCount, "which ben asked for");
    assert.ok(asked > 0, "and the router passed that on");
    figure(`${codec}: ${healed.lost.frames} pictures lost, key frame included; ${asked} requests passed on, decoded by ${healed.inbound.decoder}`);
    await ann.receives();
    await hangUp(ann, ben);
  });
}

test("somebody with VP9 alone and somebody with everything: nobody is sent what they did not offer", async () => {
  const [ann, ben] = await pair("VP9", null);
  await callBetween(ann, ben, { video: false });
  await Promise.all([ann.click("cam"), ben.click("cam")]);
  await ben.receives();
  assert.equal((await streams(ben)).inbound.codec, "video/VP9", "ben sees ann by her codec");
  // What they have in common is not known when ben's leg is answered: he sends what the router likes best, and it stays there.
  await until("the router holds ben's pictures back", async () => (await heldBack()) > 20);
  const hers = (await streams(ann)).inbound;
  assert.ok(hers === null || hers.packets === 0 || hers.codec === "video/VP9", JSON.stringify(hers));
  await Promise.all([ann, ben].map((person) => person.receives({ video: false })));
  await hangUp(ann, ben);
});
