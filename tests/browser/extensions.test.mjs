// Header extensions that a page may ask Chromium for: what of them gets through the router, and as what.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { inspectPeer } from "./lib/inpage.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { Server } from "./lib/server.mjs";
import { figure, until } from "./lib/until.mjs";

/** What a leg's clock shows when it begins, in seconds since 1900 (`router/media/src/ntp.rs`). */
const LEG_BEGINS_AT = 0xe000_0000;

let server, browser;

before(async () => {
  server = await Server.start();
  browser = await launchChromium();
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

/** In the page, before its own code: asks for all header extensions that the browser has. */
function askForAll() {
  const native = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function addTransceiver(...given) {
    const line = native.call(this, ...given);
    line.setHeaderExtensionsToNegotiate(line.getHeaderExtensionsToNegotiate().map((extension) => ({ ...extension, direction: "sendrecv" })));
    return line;
  };
}

/** In the page: when the sound and the picture that were played last were captured, in milliseconds. */
function capturedAt() {
  const lines = window.peers.at(-1).getTransceivers();
  const sources = lines.map((line) => line.receiver.getSynchronizationSources()[0] ?? {});
  return sources.map(({ captureTimestamp, senderCaptureTimeOffset }) => ({ at: captureTimestamp, offset: senderCaptureTimeOffset }));
}

test("sound and picture say when they were captured, on the router's clock; what would show the picture does not pass", async () => {
  await server.account("ben", []);
  await server.account("ann", ["ben"]);
  const person = (handle) => chromiumPerson(browser, server, handle, { init: [askForAll], camera: { width: 640, height: 360 } });
  const [ann, ben] = await Promise.all(["ann", "ben"].map(person));
  await callBetween(ann, ben);
  for (const { browser: page } of [ann, ben]) {
    const { offer, answer } = await page.evaluate(inspectPeer);
    assert.match(offer, /hdrext:encrypt .*corruption-detection/, "Chromium offers it encrypted");
    assert.match(answer, /abs-capture-time[^]*m=video[^]*abs-capture-time/);
    assert.match(answer, /playout-delay/);
    assert.match(answer, /transport-wide-cc-02[^]*m=video[^]*transport-wide-cc-02/, "reports may be asked for");
    assert.doesNotMatch(answer, /encrypt|corruption|video-timing|color-space/);
  }
  const [sound, picture] = await until("ben knows when it was captured", async () => {
    const times = await ben.browser.evaluate(capturedAt);
    return times.every(({ at }) => typeof at === "number") && times;
  });
  figure(`captured at ${sound.at} and ${picture.at} ms, ${JSON.stringify([sound.offset, picture.offset])}`);
  for (const { at } of [sound, picture]) {
    const seconds = at / 1000 - LEG_BEGINS_AT;
    assert.ok(seconds >= 0 && seconds < 300, `${seconds} s after the leg began`);
  }
  assert.ok(Math.abs(sound.at - picture.at) < 1000, "both are of about the same moment");
  await Promise.all([ann, ben].map((one) => one.receives()));
  await hangUp(ann, ben);
  await Promise.all([ann, ben].map((one) => one.close()));
});
