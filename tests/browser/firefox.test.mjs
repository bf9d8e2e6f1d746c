// Firefox and Chromium: two engines that share no WebRTC code of their own making, in one call.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { firefoxPerson, launchFirefox } from "./lib/firefox.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { assertNothingOf, candidatesOf } from "./lib/privacy.mjs";
import { Server } from "./lib/server.mjs";
import { figure } from "./lib/until.mjs";

let server, firefox, chromium, alice, bob;

before(async () => {
  server = await Server.start();
  [firefox, chromium] = await Promise.all([launchFirefox(), launchChromium()]);
  [alice, bob] = await Promise.all([firefoxPerson(firefox, server, "alice"), chromiumPerson(chromium, server, "bob")]);
});

after(async () => {
  await Promise.all([firefox?.close(), chromium?.close()]);
  await server?.remove();
});

test("Firefox calls Chromium: sound and pictures both ways", async () => {
  await callBetween(alice, bob);
  for (const person of [alice, bob]) {
    const { first } = await person.stats();
    figure(`${person === alice ? "Firefox" : "Chromium"} accept to first audio ${Math.round(first.audioMs)} ms, prepared: ${first.prepared}`);
  }
});

test("neither learns anything of the other", async () => {
  const [a, b] = await Promise.all([alice.inspect(), bob.inspect()]);
  assert.ok(assertNothingOf(a.offer, b.answer, "Firefox's offer, Chromium's answer") > 3);
  assert.ok(assertNothingOf(b.offer, a.answer, "Chromium's offer, Firefox's answer") > 3);
  const held = server.udpPorts();
  for (const { port } of [...a.candidates.remote, ...b.candidates.remote]) assert.ok(held.has(port), `port ${port}`);
  assert.ok(candidatesOf(a.answer).length > 0);
});

test("Firefox mutes and shows no picture, reloads, and hangs up", async () => {
  await alice.click("mic");
  await bob.shows("peer-muted");
  await alice.click("mic");
  await bob.hides("peer-muted");
  await alice.click("cam");
  await bob.shows("peer-camera-off");
  await alice.click("cam");
  await bob.receives();
  await alice.browser.reload();
  await alice.isLive();
  await Promise.all([alice.receives(), bob.receives()]);
  await hangUp(alice, bob);
});

test("Chromium calls Firefox: sound both ways", async () => {
  await callBetween(bob, alice, { video: false });
  await hangUp(alice, bob);
});

test("neither page reported an error", async () => {
  await Promise.all([alice.close(), bob.close()]);
});
