// What in one party's session description could tell the other who and where they are.

import { strict as assert } from "node:assert";

/** Every identifying value of a description, by kind: ICE, DTLS, RTP and addresses with their ports. */
export function identifiers(sdp) {
  const found = { ufrag: [], pwd: [], fingerprint: [], ssrc: [], cname: [], msid: [], candidate: [], session: [] };
  for (const line of sdp.split(/\r?\n/)) {
    const [, kind, value] = /^([a-z]=[a-z-]*):?(.*)$/.exec(line) ?? [];
    if (kind === "a=ice-ufrag") found.ufrag.push(value);
    if (kind === "a=ice-pwd") found.pwd.push(value);
    if (kind === "a=fingerprint") found.fingerprint.push(value.split(" ")[1].toUpperCase());
    if (kind === "a=ssrc-group") found.ssrc.push(...value.split(" ").slice(1));
    if (kind === "a=msid") found.msid.push(...value.split(" ").filter((part) => part !== "-"));
    if (kind === "a=candidate") {
      const field = value.split(" ");
      found.candidate.push(`${field[4]} ${field[5]}`);
      if (field.includes("raddr")) found.candidate.push(`${field[field.indexOf("raddr") + 1]} `);
    }
    if (kind === "a=ssrc") {
      const [ssrc, attribute = ""] = value.split(/ (.*)/);
      found.ssrc.push(ssrc);
      if (attribute.startsWith("cname:")) found.cname.push(attribute.slice(6));
      if (attribute.startsWith("msid:")) found.msid.push(...attribute.slice(5).split(" ").filter((part) => part !== "-"));
    }
    if (line.startsWith("o=")) found.session.push(line.split(" ")[1]);
  }
  // A port of 9 and an address of zeros say nothing: they stand for "none".
  found.candidate = found.candidate.filter((one) => !/^(0\.0\.0\.0|::) | 0$/.test(one));
  return Object.fromEntries(Object.entries(found).map(([kind, values]) => [kind, [...new Set(values)].filter((v) => v !== "")]));
}

/** Fails if anything that identifies `own` occurs anywhere in `other`. Gives how many values were looked for. */
export function assertNothingOf(own, other, what) {
  let looked = 0;
  const haystack = other.toUpperCase();
  for (const [kind, values] of Object.entries(identifiers(own))) {
    for (const value of values) {
      looked += 1;
      assert.ok(!haystack.includes(value.toUpperCase()), `${what}: ${kind} ${value} of one side reached the other`);
    }
  }
  return looked;
}

/** The `address port` of each candidate in a description. */
export function candidatesOf(sdp) {
  return identifiers(sdp).candidate;
}
