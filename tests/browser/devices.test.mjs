// Another microphone, camera and speaker in the middle of a call, and one that is unplugged.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { unpluggable } from "./lib/inpage.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { Server } from "./lib/server.mjs";
import { until } from "./lib/until.mjs";

let server, browser, alice, bob;

before(async () => {
  server = await Server.start();
  browser = await launchChromium({ cameras: 3 });
  const camera = { width: 320, height: 180 };
  [alice, bob] = await Promise.all([
    chromiumPerson(browser, server, "alice", { init: [unpluggable], camera }),
    chromiumPerson(browser, server, "bob", { camera }),
  ]);
  await callBetween(alice, bob);
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

/** The devices that feed alice's connection, by kind, and those that her page plays on. */
function inUse() {
  return alice.browser.evaluate(() => {
    const senders = window.peers.at(-1).getSenders();
    const used = { sinks: [...new Set(window.sounds.map((sound) => sound.sinkId))] };
    for (const { track } of senders) if (track) used[track.kind] = { id: track.getSettings().deviceId, label: track.label, live: track.readyState === "live" };
    return used;
  });
}

/** Chooses the last one in the list; gives its name and id. */
async function chooses(kind) {
  const list = alice.page.getByTestId(`choice-${kind}`);
  const option = list.locator("option").last();
  const chosen = { label: await option.textContent(), id: await option.getAttribute("value") };
  assert.notEqual(chosen.id, await list.inputValue(), "it is another one");
  await list.selectOption(chosen.id);
  return chosen;
}

const chosen = {};

/** Waits until alice sends from what she chose. */
async function sends(of) {
  let used = null;
  const isChosen = async () => {
    used = (await inUse())[of];
    return used?.live && used.id === chosen[of].id && used.label === chosen[of].label;
  };
  await until(`alice sends from ${chosen[of].label}`, isChosen).catch((error) => {
    error.message += `; last: ${JSON.stringify(used)}, not ${JSON.stringify(chosen[of])}`;
    throw error;
  });
}

test("another microphone and camera are taken into use at once, and the call goes on", async () => {
  const before = await inUse();
  const generation = (await alice.state()).legGeneration;
  const { offer } = await alice.inspect();
  await alice.click("call-devices");
  for (const [kind, of] of [["mic", "audio"], ["cam", "video"]]) {
    chosen[of] = await chooses(kind);
    assert.notEqual(chosen[of].id, before[of].id);
    await sends(of);
    await bob.receives();
  }
  await alice.click("devices-done");
  assert.deepEqual([(await alice.state()).legGeneration, (await alice.inspect()).offer], [generation, offer], "no new offer");
  assert.deepEqual((await bob.state()).call.peerMedia, { audio: true, video: true });
});

test("another speaker plays the call", async () => {
  await alice.click("call-devices");
  chosen.speaker = await chooses("speaker");
  await until(`it sounds on ${chosen.speaker.label}`, async () => (await inUse()).sinks.join() === chosen.speaker.id);
  await alice.click("devices-done");
  await alice.receives();
});

test("the choice outlives a reload in mid-call", async () => {
  await alice.browser.reload();
  await alice.isLive();
  await Promise.all([sends("audio"), sends("video")]);
  await until("the call is heard on the chosen speaker", async () => (await inUse()).sinks.join() === chosen.speaker.id);
  await Promise.all([alice.receives(), bob.receives()]);
  await alice.click("call-devices");
  await alice.click("test-sound");
  await until("it rings on the chosen speaker, too", () =>
    alice.browser.evaluate((id) => window.contexts.length > 0 && window.contexts.every(({ sinkId }) => sinkId === id), chosen.speaker.id),
  );
  await alice.click("devices-done");
});

test("a chosen device that is unplugged is replaced, with words for it, until it is back", async () => {
  for (const [kind, of] of [["mic", "audio"], ["cam", "video"]]) {
    const plug = (isIn, isBusy) =>
      alice.browser.evaluate(({ id, isIn, isBusy }) => window.plug(id, isIn, isBusy), { id: chosen[of].id, isIn, isBusy });
    await plug(false);
    await alice.shows(`substitute-${kind}`);
    const used = await until("another one is in use", async () => {
      const now = (await inUse())[of];
      return now?.live && now.id !== chosen[of].id && now;
    });
    const words = await alice.read(`substitute-${kind}`);
    assert.equal(words, `Your chosen ${kind === "mic" ? "microphone" : "camera"} is not plugged in. Using ${used.label}.`);
    await bob.receives();
    await alice.click("call-devices");
    assert.equal(await alice.page.getByTestId(`choice-${kind}`).locator("option:checked").textContent(), "Chosen device (not plugged in)");
    await alice.click("devices-done");
    // It is there again and cannot be opened yet: the other one stays in use.
    await plug(true, true);
    await until("it was tried", () => alice.browser.evaluate((id) => !window.isBusy(id), chosen[of].id));
    assert.deepEqual([(await inUse())[of].id, (await inUse())[of].live], [used.id, true]);
    await bob.receives();
    await plug(false);
    await alice.shows(`substitute-${kind}`);
    await plug(true);
    await sends(of);
    await alice.hides(`substitute-${kind}`);
    await bob.receives();
  }
});

test("neither page reported an error", async () => {
  await hangUp(alice, bob);
  await Promise.all([alice.close(), bob.close()]);
});
