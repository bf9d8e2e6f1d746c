// A picture in several sizes, and in one stream with layers in it: what is offered, taken, sent and seen, in two Chromium.

import { strict as assert } from "node:assert";
import { after, afterEach, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { pretendWay, sendLayers, videoStreams } from "./lib/codecs.mjs";
import { arrivals } from "./lib/inpage.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { Server } from "./lib/server.mjs";
import { figure, pause, until } from "./lib/until.mjs";

/** The least that Chromium sends in three sizes. */
const CAMERA = { width: 960, height: 540 };
/** Chromium raises what it sends step by step, and the largest size comes last. */
const LARGEST_MS = 20_000;

let server, browsers;
const people = [];
let pairs = 0;

before(async () => {
  server = await Server.start();
  browsers = await Promise.all([launchChromium(), launchChromium()]);
});

afterEach(async () => {
  await Promise.all(people.splice(0).map((person) => person.close()));
});

after(async () => {
  await Promise.all(browsers?.map((browser) => browser.close()) ?? []);
  await server?.remove();
});

async function pair(init) {
  pairs += 1;
  const [ann, ben] = [`ann${pairs}`, `ben${pairs}`];
  await server.account(ben, []);
  await server.account(ann, [ben]);
  for (const [i, handle] of [ann, ben].entries()) people.push(await chromiumPerson(browsers[i], server, handle, { camera: CAMERA, init }));
  return people.slice(-2);
}

const streams = (person) => person.browser.evaluate(videoStreams);

async function seesAllOf(person, from) {
  const began = performance.now();
  await until(`${person.handle} sees the largest picture`, async () => (await person.stats()).leg.videoIn.height === CAMERA.height, LARGEST_MS);
  figure(`layers: the largest picture ${((performance.now() - began) / 1000).toFixed(1)} s after ${from}`);
}

test("a picture is sent in three sizes, and a viewer with a wide path sees the largest soon", async () => {
  const [ann, ben] = await pair();
  await callBetween(ann, ben);
  await Promise.all([ann, ben].map((person) => seesAllOf(person, "the call began")));
  const { offer, answer } = await ann.inspect();
  assert.match(offer, /a=simulcast:send q;h;f/);
  assert.match(answer, /a=simulcast:recv q;h;f/);
  const { outbound } = await until("all sizes are sent", async () => {
    const all = await streams(ann);
    return all.outbound.sizes.every(({ lines }) => lines > 0) && all;
  });
  assert.deepEqual(outbound.sizes.map(({ rid }) => rid).sort(), ["f", "h", "q"]);
  assert.deepEqual(outbound.sizes.map(({ lines }) => lines).sort((a, b) => a - b), [135, 270, 540]);
  const before = (await ben.stats()).leg.videoIn;
  assert.equal(before.freezes, 0, "the changes to larger pictures were not seen as freezes");

  // The same leg, another page behind it.
  await ann.browser.reload();
  await ann.online();
  await Promise.all([ann.isLive(), ben.isLive()]);
  await ben.receives();
  await seesAllOf(ben, "ann's page was loaded anew");
  await seesAllOf(ann, "her page was loaded anew");
  await hangUp(ann, ben);
});

/** Waits until these sizes are sent, and no other. */
const sends = (person, ...rids) =>
  until(`${person.handle} sends ${rids}`, async () => {
    const { outbound } = await streams(person);
    const active = (outbound?.sizes ?? []).filter((size) => size.active).map(({ rid }) => rid);
    return active.length === rids.length && rids.every((rid) => active.includes(rid));
  });

const iceOf = (sdp) => sdp.match(/^a=ice-ufrag:.*$/m)?.[0];

/** For as long as it takes a browser to switch a size on. */
async function stillSends(person, ...rids) {
  await pause(2_000);
  await sends(person, ...rids);
}

test("where the way to the router is narrow the largest size is sent alone, whatever else changes", async () => {
  const [ann, ben] = await pair([pretendWay]);
  await callBetween(ann, ben);
  await seesAllOf(ben, "the call began");
  await sends(ann, "q", "h", "f");
  const began = performance.now();
  await ann.browser.evaluate(() => void (window.pretended.availableOutgoingBitrate = 500_000));
  await sends(ann, "f");
  figure(`layers: one size ${((performance.now() - began) / 1000).toFixed(1)} s after the way was narrow`);
  await ben.receives();
  assert.equal((await ben.stats()).leg.videoIn.height, CAMERA.height);
  await sends(ben, "q", "h", "f");

  // Each answer names all sizes: for redundant sound the one that there is is set anew, and a changed network brings another.
  await ann.browser.evaluate(() => void (window.pretended.fractionLost = 0.05));
  await until("ann sends redundant sound", async () => (await ann.browser.evaluate(arrivals, false)).sendsRed);
  await stillSends(ann, "f");
  await ann.click("cam");
  await sends(ann);
  const { answer } = await ann.inspect();
  await ann.browser.evaluate(() => void window.dispatchEvent(new Event("online")));
  await until("ann's leg has another answer", async () => iceOf((await ann.inspect()).answer) !== iceOf(answer));
  await ann.isLive();
  await stillSends(ann);
  await ann.click("cam");
  await sends(ann, "f");
  await ben.receives();
  await hangUp(ann, ben);
});

for (const codec of ["VP9", "AV1"]) {
  test(`${codec} with three spatial layers in one stream is seen whole`, async () => {
    const [ann, ben] = await pair([sendLayers, { codec, mode: "L3T3_KEY" }]);
    await callBetween(ann, ben);
    await Promise.all([ann, ben].map((person) => seesAllOf(person, `the call in ${codec} began`)));
    const { inbound, outbound } = await streams(ann);
    assert.deepEqual([inbound.codec, outbound.codec], [`video/${codec}`, `video/${codec}`]);
    figure(`layers: ${codec} is sent as ${outbound.sizes.map(({ mode, lines }) => `${mode} ${lines}`)}`);
    await hangUp(ann, ben);
  });
}
