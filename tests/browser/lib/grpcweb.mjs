// gRPC-Web by hand: a client that shares no code with the product's. Messages are made and read here, sent from a page.

import { PATIENCE_MS, within } from "./until.mjs";

/** A message whose fields are strings, by field number. */
export function message(fields = {}) {
  const parts = Object.entries(fields).map(([number, text]) => {
    const bytes = Buffer.from(text);
    return Buffer.concat([Buffer.from([(Number(number) << 3) | 2, ...varint(bytes.length)]), bytes]);
  });
  return Buffer.concat(parts);
}

/** The fields of a message, by number: a Buffer for what has a length, a BigInt for a varint. The last one counts. */
export function fields(bytes) {
  const found = {};
  for (let at = 0; at < bytes.length; ) {
    const [tag, begin] = readVarint(bytes, at);
    const kind = Number(tag & 7n);
    const [value, end] = kind === 0 ? readVarint(bytes, begin) : readBytes(bytes, begin, kind);
    found[Number(tag >> 3n)] = value;
    at = end;
  }
  return found;
}

function varint(number) {
  return number < 0x80 ? [number] : [(number & 0x7f) | 0x80, ...varint(number >>> 7)];
}

function readVarint(bytes, at) {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n, at += 1) {
    value |= BigInt(bytes[at] & 0x7f) << shift;
    if (bytes[at] < 0x80) return [value, at + 1];
  }
}

function readBytes(bytes, at, kind) {
  if (kind !== 2) throw new Error(`no message of ours has fields of wire type ${kind}`);
  const [length, begin] = readVarint(bytes, at);
  return [bytes.subarray(begin, begin + Number(length)), begin + Number(length)];
}

/** A page on one door, as a client of the API. */
export class Door {
  constructor(page, token) {
    this.page = page;
    this.token = token;
  }

  /** Begins a call: a method of CallService, or any by its path. `more` may hold `timeout` ("500m") and `token` (null for none). */
  async begin(method, body, more = {}) {
    const { timeout = null, token = this.token } = more;
    const base64 = body.toString("base64");
    return new Call(this.page, await this.page.evaluate(beginCall, { method, base64, timeout, token }));
  }

  async unary(method, body = message(), more) {
    return (await this.begin(method, body, more)).outcome();
  }

  /** By which protocol each call of the API went, as the browser tells it. */
  protocols() {
    return this.page.evaluate(() => [
      ...new Set(performance.getEntriesByType("resource").filter(({ name }) => name.includes("/duocast.v1.")).map((one) => one.nextHopProtocol)),
    ]);
  }

  /** By which protocol all that the page has fetched came, and how many connections were opened for it after the page's own. */
  connections() {
    return this.page.evaluate(() => {
      const fetched = performance.getEntriesByType("resource").filter((one) => one.initiatorType === "fetch");
      return {
        protocols: [...new Set(fetched.map((one) => one.nextHopProtocol))],
        opened: fetched.filter((one) => one.connectEnd > one.connectStart).length,
      };
    });
  }
}

class Call {
  constructor(page, id) {
    this.page = page;
    this.id = id;
  }

  /** What has come so far: messages, and how it ended, if it did. */
  async now() {
    const { messages, status, text, details, failed } = await this.page.evaluate((id) => window.calls[id], this.id);
    return {
      messages: messages.map((one) => Buffer.from(one, "base64")),
      over: status !== null || failed !== null,
      outcome: failed ? "no answer" : status === null ? null : `${status} ${reasonIn(details)}`.trim(),
      text,
    };
  }

  async outcome() {
    await within("a call of the API", PATIENCE_MS, this.page.evaluate((id) => window.calls[id].finished, this.id));
    return this.now();
  }

  cancel() {
    return this.page.evaluate((id) => window.calls[id].abort.abort(), this.id);
  }
}

/** The stable reason in grpc-status-details-bin: google.rpc.Status.details[].value of the ErrorInfo, its first field. */
function reasonIn(details) {
  if (!details) return "";
  const any = fields(Buffer.from(details, "base64"))[3];
  return any ? fields(fields(any)[2])[1].toString() : "";
}

/** In the page: sends the call and collects what comes in `window.calls`. */
function beginCall({ method, base64, timeout, token }) {
  const calls = (window.calls ??= []);
  const body = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const framed = new Uint8Array(5 + body.length);
  new DataView(framed.buffer).setUint32(1, body.length);
  framed.set(body, 5);
  const headers = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" };
  if (timeout) headers["grpc-timeout"] = timeout;
  if (token) headers["authorization"] = `Bearer ${token}`;
  const call = { messages: [], status: null, text: "", details: "", failed: null, abort: new AbortController() };

  function end(get) {
    call.status = Number(get("grpc-status"));
    call.text = decodeURIComponent(get("grpc-message") ?? "");
    call.details = get("grpc-status-details-bin") ?? "";
  }

  function take(flag, payload) {
    if (flag === 0) return call.messages.push(btoa(String.fromCharCode(...payload)));
    const lines = new TextDecoder().decode(payload).split("\r\n");
    end((name) => lines.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim());
  }

  async function send() {
    const path = method.startsWith("/") ? method : `/duocast.v1.CallService/${method}`;
    const answer = await fetch(path, { method: "POST", headers, body: framed, signal: call.abort.signal });
    if (answer.headers.has("grpc-status")) end((name) => answer.headers.get(name));
    let held = new Uint8Array();
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      held = Uint8Array.from([...held, ...value]);
      while (held.length >= 5) {
        const end = 5 + new DataView(held.buffer).getUint32(1);
        if (held.length < end) break;
        take(held[0], held.slice(5, end));
        held = held.slice(end);
      }
    }
  }

  // Not enumerable: a promise cannot be handed out of the page.
  const finished = send().catch((error) => (call.failed = error.name)).then(() => true);
  Object.defineProperty(call, "finished", { value: finished });
  return calls.push(call) - 1;
}
