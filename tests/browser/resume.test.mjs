// Pages reload and the server is killed in mid-call.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { freeUdpPorts, Server } from "./lib/server.mjs";
import { figure, until } from "./lib/until.mjs";

/** A party may be away for 30 s, media may take 30 s more to be given up. */
const RESUME_MS = 75_000;

let server, browsers, alice, bob, media;
const ONE_WORKER = ["--workers", "1"];

before(async () => {
  media = await freeUdpPorts(1);
  server = await Server.start({ media, args: ONE_WORKER });
  browsers = await Promise.all([launchChromium(), launchChromium()]);
  [alice, bob] = await Promise.all([
    chromiumPerson(browsers[0], server, "alice"),
    chromiumPerson(browsers[1], server, "bob"),
  ]);
});

after(async () => {
  await Promise.all(browsers?.map((browser) => browser.close()) ?? []);
  await server?.remove();
});

async function reload(person, other) {
  const { id } = (await person.state()).call;
  const start = Date.now();
  await person.browser.reload();
  const { call } = await person.isLive();
  assert.equal(call.id, id, "it is the same call");
  await Promise.all([person.receives(), other.receives()]);
  figure(`${person.handle} reloads: media both ways again after ${Date.now() - start} ms`);
  assert.equal((await other.state()).call.id, id);
}

test("the caller reloads the page and the call goes on", async () => {
  await callBetween(alice, bob);
  await reload(alice, bob);
});

test("the callee reloads the page, muted, and comes back muted", async () => {
  await bob.click("mic");
  await alice.shows("peer-muted");
  await bob.browser.reload();
  await bob.isLive();
  await bob.receives();
  await alice.shows("peer-muted");
  assert.equal(await bob.read("mic", "data-on"), "false");
  await bob.click("mic");
  await alice.hides("peer-muted");
  await alice.receives();
  await hangUp(alice, bob);
});

test("the server is killed and started again: pages come back, nothing is lost, the call goes on or says why not", async () => {
  await callBetween(alice, bob);
  const { id } = (await alice.state()).call;
  const before = await calls();

  const { ports, data } = server;
  await server.kill();
  await Promise.all([alice, bob].map((person) => person.sees("the loss of the server", (state) => state.connection !== "open")));
  await alice.shows("banner-lost");
  const start = Date.now();
  server = await Server.start({ ...ports, media, data, args: ONE_WORKER });

  await Promise.all([alice.online(), bob.online()]);
  figure(`server killed: both pages are connected ${Date.now() - start} ms after its restart began`);
  const how = await Promise.all([alice, bob].map((person) => outcome(person, id)));
  assert.equal(how[0], how[1], "both see the same");
  figure(`server killed: the running call ${how[0]} (${Date.now() - start} ms)`);
  if (how[0] === "goes on") {
    await Promise.all([alice.receives(), bob.receives()]);
    await hangUp(alice, bob);
  } else {
    await Promise.all([alice.closesEnded(), bob.closesEnded()]);
  }

  assert.equal(await alice.read("contact-bob", "data-online"), "true");
  const after = await calls();
  assert.equal(after.length, before.length);
  for (const call of before.slice(1)) assert.deepEqual(after.find((one) => one.call_id === call.call_id), call);
  assert.equal(after[0].call_id, id);
  assert.equal(after[0].state, "CALL_STATE_ENDED");
});

test("after the restart they call each other again", async () => {
  await callBetween(bob, alice);
  await hangUp(bob, alice);
});

test("the server is stopped and started again while nobody calls: both are back by themselves", async () => {
  const { ports, data } = server;
  assert.equal(await server.drain(), 0);
  server = await Server.start({ ...ports, media, data, args: ONE_WORKER });
  await Promise.all([alice.online(), bob.online()]);
  await callBetween(alice, bob, { video: false });
  await hangUp(alice, bob);
});

test("neither page reported an error, and the server did not panic", async () => {
  await Promise.all([alice.close(), bob.close()]);
  assert.doesNotMatch(server.logged(), /panicked/);
});

/** What became of a call: "goes on", or "ended: " and the reason on the screen. */
function outcome(person, id) {
  return until(`${person.handle} sees what became of the call`, async () => {
    const { call, leg, ended } = await person.state();
    if (ended) {
      assert.notEqual(await person.read("ended-title"), "");
      return `ended: ${await person.read("screen-ended", "data-reason")}`;
    }
    return call?.id === id && call.state === "live" && leg === "connected" && (await sound(person)) && "goes on";
  }, RESUME_MS);
}

async function sound(person) {
  return person.receives({ video: false, patienceMs: 3_000 }).catch(() => false);
}

async function calls() {
  const here = ["--url", server.url, "--data-dir", server.data];
  return JSON.parse(await server.ctl("calls", "--as", "alice", "--json", ...here)).calls;
}
