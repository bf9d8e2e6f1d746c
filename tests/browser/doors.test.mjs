// The API as a browser reaches it: grpc-web over HTTP/2 and over HTTP/3 give the same answers.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { Door, fields, message } from "./lib/grpcweb.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { Probe } from "./lib/probe.mjs";
import { Server } from "./lib/server.mjs";
import { figure, until } from "./lib/until.mjs";

/** Kinds of Event, by their field numbers in call.proto. */
const SESSION_STARTED = 3;
const DRAINING = 6;

/** HealthCheckResponse.status. */
const SERVING = 1n;

/** Of ServerReflectionRequest and ServerReflectionResponse. */
const FILE_CONTAINING_SYMBOL = 4;
const FILE_DESCRIPTORS = 4;

/** A whole message may not be larger (duocast_wire::MAX_MESSAGE_BYTES). */
const MESSAGE_BYTES_MAX = 256 * 1024;

let server, probe;
const browsers = {};
const doors = {};
/** What each door answered to each story, for the comparison at the end. */
const answers = { h2: {}, h3: {} };

before(async () => {
  [server, probe] = await Promise.all([Server.start(), Probe.start()]);
  const trustKey = `${server.keyHash},${probe.keyHash}`;
  const quic = [server.url, probe.url].map((url) => new URL(url).host).join(",");
  [browsers.h2, browsers.h3] = await Promise.all([
    launchChromium({ trustKey, args: ["--disable-quic"] }),
    launchChromium({ trustKey, quic }),
  ]);
  for (const name of ["h2", "h3"]) {
    const page = await browsers[name].newPage();
    await page.goto(server.url);
    doors[name] = new Door(page, await server.token("alice"));
  }
});

after(async () => {
  await Promise.all(Object.values(browsers).map((browser) => browser.close()));
  await server?.remove();
  probe?.remove();
});

for (const name of ["h2", "h3"]) {
  const story = (title, tell) =>
    test(`${name}: ${title}`, async () => {
      answers[name][title] = await tell(doors[name]);
    });

  story("a unary call is answered", async (door) => {
    const { outcome, messages } = await door.unary("GetProfile");
    assert.equal(outcome, "0");
    const person = fields(fields(messages[0])[1]);
    assert.equal(person[1].toString(), "alice");
    return [outcome, person[1].toString(), person[2].toString()];
  });

  story("a stream begins with the session and stays open", async (door) => {
    const call = await subscribe(door, "open");
    const { outcome, messages } = await call.now();
    assert.equal(outcome, null);
    assert.ok(fields(messages[0])[SESSION_STARTED]);
    await call.cancel();
    await noStreams();
    return messages.length;
  });

  story("a stream ends at its deadline", async (door) => {
    const { outcome, messages } = await (await subscribe(door, "deadline", { timeout: "500m" })).outcome();
    assert.equal(outcome, "4");
    return [outcome, messages.length];
  });

  story("a stream that the page cancels is dropped on the server", async (door) => {
    await noStreams();
    const call = await subscribe(door, "cancelled");
    assert.equal(await server.metric("duocast_control_streams"), 1);
    await call.cancel();
    await noStreams();
    assert.equal((await call.outcome()).outcome, "no answer");
  });

  story("an offer that is too large is refused with a reason", async (door) => {
    const { outcome, text } = await door.unary("ConnectLeg", message({ 1: NOBODY, 2: NOBODY, 4: "x".repeat(65 * 1024) }));
    assert.equal(outcome, "3 SDP_TOO_LARGE");
    return [outcome, text];
  });

  story("a message that is too large fails its call only", async (door) => {
    const { outcome, text } = await door.unary("ConnectLeg", message({ 4: "x".repeat(MESSAGE_BYTES_MAX) }));
    assert.equal(outcome, "8 MESSAGE_TOO_LARGE");
    assert.equal((await door.unary("GetProfile")).outcome, "0");
    return [outcome, text];
  });

  story("without a token, with a spoiled one and with a foreign call there are words for it", async (door) => {
    const refused = [];
    for (const token of [null, "x.y.z", `${door.token.slice(0, -8)}AAAAAAAA`]) {
      const { outcome, text } = await door.unary("GetProfile", message(), { token });
      assert.match(outcome, /^16 /);
      assert.notEqual(text, "");
      refused.push(outcome, text);
    }
    const foreign = await door.unary("GetCall", message({ 1: NOBODY }));
    assert.match(foreign.outcome, /^5 /);
    return [...refused, foreign.outcome, foreign.text];
  });

  story("a method that does not exist is unimplemented", async (door) => {
    const { outcome, text } = await door.unary("Sing");
    assert.match(outcome, /^12\b/);
    return [outcome, text];
  });

  story("health of a service is told without a token", async (door) => {
    const check = (service) => door.unary("/grpc.health.v1.Health/Check", message({ 1: service }), { token: null });
    const { outcome, messages } = await check("duocast.v1.CallService");
    assert.equal(outcome, "0");
    assert.equal(fields(messages[0])[1], SERVING);
    const unknown = await check("nobody");
    assert.match(unknown.outcome, /^5\b/);
    return [outcome, unknown.outcome, unknown.text];
  });

  story("both versions of reflection describe the API", async (door) => {
    const described = [];
    for (const version of ["v1", "v1alpha"]) {
      const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
      const { outcome, messages } = await door.unary(path, message({ [FILE_CONTAINING_SYMBOL]: "duocast.v1.CallService" }), { token: null });
      assert.equal(outcome, "0");
      const file = fields(fields(fields(messages[0])[FILE_DESCRIPTORS])[1]);
      assert.equal(file[2].toString(), "duocast.v1");
      described.push(version, file[1].toString());
    }
    return described;
  });

  story("a panic in the server ends its call, and no other on the connection", async () => {
    const page = await browsers[name].newPage();
    await page.goto(`${probe.url}/page`);
    const door = new Door(page, null);
    const [unary, stream] = ["Unary", "Stream"].map((method) => `/duocast.test.Probe/${method}`);
    const open = await opened(await door.begin(stream, message({ 1: "idle" })));
    const panics = await door.unary(unary, message({ 1: "panic" }));
    assert.match(panics.outcome, /^13\b/);
    const breaks = await door.unary(stream, message({ 1: "panic" }));
    assert.deepEqual([breaks.outcome, breaks.messages.length], [panics.outcome, 1], "after its first message");
    const echo = await door.unary(unary, message({ 1: "echo", 3: "still here" }));
    assert.equal(fields(echo.messages[0])[2].toString(), "still here");
    assert.deepEqual([(await open.now()).over, (await open.now()).messages.length], [false, 1], "the other stream is as it was");
    assert.deepEqual(await door.connections(), { protocols: [name], opened: 0 });
    await open.cancel();
    await page.close();
    return [panics.outcome, panics.text, breaks.outcome, breaks.text];
  });

  test(`${name}: all of that went over ${name}`, async () => {
    assert.deepEqual(await doors[name].protocols(), [name]);
    const [page] = await doors[name].page.evaluate(() => performance.getEntriesByType("navigation").map((one) => one.nextHopProtocol));
    assert.equal(page, name);
  });
}

test("both doors gave the same answers", () => {
  assert.ok(Object.keys(answers.h2).length >= 8);
  assert.deepEqual(answers.h3, answers.h2);
});

test("somebody at a page on HTTP/3 and somebody at a page on HTTP/2 talk", async () => {
  const origin = server.url;
  const alice = await chromiumPerson(browsers.h3, server, "alice", { origin });
  const bob = await chromiumPerson(browsers.h2, server, "bob", { origin });
  await callBetween(alice, bob, { video: false });
  await hangUp(alice, bob);
  for (const [person, name] of [[alice, "h3"], [bob, "h2"]]) assert.deepEqual(await new Door(person.page).protocols(), [name]);
  await Promise.all([alice.close(), bob.close()]);
});

test("a server that is stopped tells the streams of both doors, and takes no more calls", async () => {
  const open = await Promise.all(["h2", "h3"].map((name) => subscribe(doors[name], `drained-${name}`)));
  const start = Date.now();
  const stopped = server.drain();
  const ended = await Promise.all(open.map((call) => call.outcome()));
  for (const { outcome, messages } of ended) {
    assert.ok(fields(messages.at(-1))[DRAINING], "the last event says that the server drains");
    assert.match(outcome, /^14\b/);
  }
  assert.equal(ended[0].outcome, ended[1].outcome);
  for (const name of ["h2", "h3"]) {
    const { outcome } = await doors[name].unary("GetProfile");
    assert.match(outcome, /^(14\b|no answer)/, name);
  }
  assert.equal(await stopped, 0);
  figure(`a drained server stopped after ${Date.now() - start} ms`);
});

const NOBODY = "0".repeat(32);

/** Opens a stream and waits for its first event. */
async function subscribe(door, device, more) {
  return opened(await door.begin("Subscribe", message({ 1: `device-${device}` }), more));
}

async function opened(call) {
  await until("the first event came", async () => {
    const { messages, outcome } = await call.now();
    assert.ok(messages.length > 0 || outcome === null, `the stream ended: ${outcome}`);
    return messages.length > 0;
  });
  return call;
}

function noStreams() {
  return until("no stream is left on the server", async () => (await server.metric("duocast_control_streams")) === 0);
}
