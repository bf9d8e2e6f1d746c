// Speech goes through real calls, browser to SDK and SDK to SDK, and is scored against what was said.

import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { Server } from "./lib/server.mjs";
import { HeadlessCall, recordPage, score, speak } from "./lib/speech.mjs";
import { figure } from "./lib/until.mjs";

/** The speech lasts 10.7 s and loops, so a whole one is inside twice that. */
const LISTEN_S = 23;

let server, browser, folder, his, hers, alice;
const running = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "duocast-speech-"));
  [his, hers] = await Promise.all([speak(folder, "male"), speak(folder, "female")]);
  server = await Server.start();
  await server.account("carol", []);
  await server.account("dave", ["carol"]);
  browser = await launchChromium({ wav: hers });
  alice = await chromiumPerson(browser, server, "alice", { rawMic: true });
});

beforeEach(async () => {
  await Promise.all(running.splice(0).map((call) => call.remove()));
  await alice.backHome();
});

after(async () => {
  await Promise.all(running.map((call) => call.remove()));
  await browser?.close();
  await server?.remove();
  rmSync(folder, { recursive: true, force: true });
});

function headless(...args) {
  const call = new HeadlessCall(server, args);
  running.push(call);
  return call;
}

const file = (name) => join(folder, `${name}.wav`);

test("Chromium calls the SDK, and each hears the other's speech well", async () => {
  const bob = headless("--as", "bob", "--answer", "--audio", his, "--loop", "--record", file("bob"));
  await bob.says("waiting");
  await alice.calls("bob", { video: false });
  await alice.isLive();
  await recordPage(alice, LISTEN_S, file("alice"));
  await alice.click("hangup");
  assert.equal(await bob.ended(15_000), 0, bob.told);
  await alice.ended();
  await alice.closesEnded();
  figure(`Chromium to SDK ${await score(hers, file("bob"))}`);
  figure(`SDK to Chromium ${await score(his, file("alice"))}`);
});

test("the SDK calls Chromium, sends video as well, and hangs up by itself; meanwhile the SDK calls the SDK", async () => {
  const dave = headless("--as", "dave", "--answer", "--audio", his, "--loop", "--record", file("dave"));
  await dave.says("waiting");
  const bob = headless("--as", "bob", "--to", "alice", "--audio", his, "--loop", "--video", "--record", file("bob2"), "--duration", `${LISTEN_S}s`);
  const carol = headless("--as", "carol", "--to", "dave", "--audio", hers, "--loop", "--record", file("carol"), "--duration", `${LISTEN_S}s`);
  await alice.accepts({ video: true });
  await alice.isLive();
  // Its video is made of packets of real sizes and no picture: it takes its share of the way, nobody can decode it.
  assert.ok((await alice.receives({ video: false })).videoIn.packets > 0);
  assert.equal((await alice.ended(40_000)).reason, "hung_up");
  for (const call of [bob, carol, dave]) assert.equal(await call.ended(15_000), 0, call.told);
  figure(`Chromium to SDK, called by it, with video ${await score(hers, file("bob2"))}`);
  figure(`SDK to SDK ${await score(hers, file("dave"))}`);
  figure(`SDK to SDK, back ${await score(his, file("carol"))}`);
});

test("the page reported no error", () => alice.close());
