import { describe, expect, it } from "vitest";
import { create } from "@bufbuild/protobuf";
import { privacyView, mustRepeatNo, wishAfter, type DirectWish } from "../src/core/directview";
import type { Call, DirectState } from "../src/core/model";
import { drafted, isEdited, stepPrivacy, toggled, waitingRequests, NO_PRIVACY, type CallRequest, type Decision, type Preview, type PrivacyEvent, type PrivacySettings, type PrivacyState } from "../src/core/privacy";
import { stunUrls } from "../src/core/stun";
import { Audience, DirectSetting, SettingsChangeSchema, SettingsSchema, Strangers } from "../src/gen/duocast/v1/privacy_pb";
import { pastExposureText, previewedText, previewText, privacyLine, reasonText } from "../src/privacytext";
import { fromChange, toDecision, toSettings } from "../src/shell/wireprivacy";
import { ANN, call } from "./make";

const SAVED: PrivacySettings = { calling: true, audience: ["mutuals"], strangers: "request", enhanced: true, direct: "never", requireE2ee: false };

class Story {
  state: PrivacyState = NO_PRIVACY;

  on(event: PrivacyEvent): this {
    this.state = stepPrivacy(this.state, event);
    return this;
  }

  loaded(settings: PrivacySettings = SAVED, decided = true): this {
    return this.on({ type: "settings", settings, decided });
  }
}

function decision(outcome: Decision["outcome"], sentence = "because"): Decision {
  return { outcome, reason: "X", sentence, ownDirect: "never" };
}

const EMPTY: Preview = { changes: [], changed: 0, callersBefore: 1, callersAfter: 1, strangerBefore: null, strangerAfter: null };

describe("the settings being edited", () => {
  it("hold what was changed, and nothing that was changed back", () => {
    const story = new Story().loaded().on({ type: "edit", change: { audience: ["mutuals", "following"] } }).on({ type: "edit", change: { enhanced: false } });
    expect(story.state.draft).toEqual({ audience: ["mutuals", "following"], enhanced: false });
    expect(drafted(story.state)?.audience).toEqual(["mutuals", "following"]);
    story.on({ type: "edit", change: { audience: ["mutuals"] } }).on({ type: "edit", change: { enhanced: true } });
    expect(isEdited(story.state)).toBe(false);
  });

  it("are not touched by what another tab saves, but lose what is the same there", () => {
    const story = new Story().loaded().on({ type: "edit", change: { enhanced: false, strangers: "deny" } });
    story.loaded({ ...SAVED, strangers: "deny", calling: false });
    expect(story.state.draft).toEqual({ enhanced: false });
    expect(drafted(story.state)).toEqual({ ...SAVED, strangers: "deny", calling: false, enhanced: false });
  });

  it("show the preview of these changes only, and none of older ones", () => {
    const first = { enhanced: false };
    const story = new Story().loaded().on({ type: "edit", change: first });
    story.on({ type: "edit", change: { calling: false } }).on({ type: "previewed", draft: first, preview: EMPTY });
    expect(story.state.preview).toBeNull();
    story.on({ type: "previewed", draft: story.state.draft, preview: EMPTY });
    expect(story.state.preview).toBe(EMPTY);
    story.loaded({ ...SAVED, calling: false, enhanced: false });
    expect([story.state.preview, isEdited(story.state)]).toEqual([null, false]);
  });

  it("cannot be edited before they are there", () => {
    expect(new Story().on({ type: "edit", change: { calling: true } }).state).toBe(NO_PRIVACY);
  });

  it("stay as they are when saving fails", () => {
    const failure = { kind: "unreachable", reason: "", message: "" } as const;
    const story = new Story().loaded().on({ type: "edit", change: { calling: false } }).on({ type: "saving" }).on({ type: "failed", failure });
    expect(story.state).toMatchObject({ saving: false, draft: { calling: false }, failure });
  });

  it("once decided, stay decided", () => {
    expect(new Story().loaded(SAVED, true).loaded(SAVED, false).state.decided).toBe(true);
  });

  it("keep audiences in one order", () => {
    expect(toggled(["verified", "mutuals"], "following", true)).toEqual(["mutuals", "following", "verified"]);
    expect(toggled(["mutuals"], "mutuals", false)).toEqual([]);
  });
});

describe("call requests", () => {
  const request = (more: Partial<CallRequest> = {}): CallRequest => ({ person: ANN, incoming: true, state: "sent", createdAt: 1, ...more });

  it("come, are counted once for each person, and go when they are answered", () => {
    const story = new Story().on({ type: "request", request: request() }).on({ type: "request", request: request({ createdAt: 2 }) });
    expect(waitingRequests(story.state)).toBe(1);
    story.on({ type: "request", request: request({ state: "closed" }) });
    expect(waitingRequests(story.state)).toBe(0);
  });

  it("sent by this account stay in sight when accepted", () => {
    const story = new Story().on({ type: "request", request: request({ incoming: false }) }).on({ type: "request", request: request({ incoming: false, state: "accepted" }) });
    expect(story.state.requests?.outgoing.map(({ state }) => state)).toEqual(["accepted"]);
    expect(waitingRequests(story.state)).toBe(0);
  });
});

describe("the preview in words", () => {
  const person = (name: string) => ({ person: { handle: name.toLowerCase(), name } });

  it("counts who comes and who goes, with names", () => {
    const changes = [
      { ...person("Ann"), before: decision("request"), after: decision("allow") },
      { ...person("Ben"), before: decision("deny"), after: decision("allow") },
      { ...person("Cas"), before: decision("allow"), after: decision("deny") },
      { ...person("Dan"), before: decision("request"), after: decision("deny") },
    ];
    expect(previewText({ ...EMPTY, changes, changed: 4, callersBefore: 1, callersAfter: 2 })).toEqual([
      "2 more people could ring you: Ann and Ben.",
      "1 person could no longer ring you: Cas.",
    ]);
  });

  it("says how many there are beyond those it was told of", () => {
    const changes = ["A", "B", "C", "D"].map((name) => ({ ...person(name), before: decision("request"), after: decision("allow") }));
    expect(previewText({ ...EMPTY, changes, changed: 250, callersBefore: 0, callersAfter: 250 })).toEqual(["250 more people could ring you: A, B, C and 247 more."]);
  });

  it("tells of strangers only where something changes for them", () => {
    expect(previewText({ ...EMPTY, strangerBefore: decision("request"), strangerAfter: decision("deny") })).toEqual(["Strangers could not reach you."]);
    expect(previewText({ ...EMPTY, strangerBefore: decision("deny"), strangerAfter: decision("deny") })).toEqual(["Nobody you know is affected."]);
  });

  it("says who could see the IP address, and who no longer", () => {
    const direct = (before: Decision["ownDirect"], after: Decision["ownDirect"]) => ({
      before: { ...decision("allow"), ownDirect: before },
      after: { ...decision("allow"), ownDirect: after },
    });
    const opened = [
      { ...person("Ann"), ...direct("never", "given") },
      { ...person("Ben"), ...direct("not_given", "given") },
    ];
    expect(previewText({ ...EMPTY, changes: opened, changed: 2 })).toEqual(["2 people could see your IP address without asking you."]);
    expect(previewText({ ...EMPTY, changes: opened, changed: 150 })).toEqual(["At least 2 people could see your IP address without asking you."]);
    const mixed = [
      { ...person("Ann"), ...direct("never", "not_given") },
      { ...person("Ben"), ...direct("given", "never") },
    ];
    expect(previewText({ ...EMPTY, changes: mixed, changed: 2 })).toEqual([
      "1 person could see your IP address only after you say yes.",
      "1 person could not see your IP address any more, nor ask to.",
    ]);
    const { before: strangerBefore, after: strangerAfter } = direct("never", "given");
    expect(previewText({ ...EMPTY, changes: opened, changed: 2, strangerBefore, strangerAfter })).toEqual(["Anyone you talk to could see your IP address without asking you."]);
    // In the list, beside each name.
    expect(previewedText(direct("never", "given"))).toBe("Could see your IP address without asking you.");
    const both = { before: { ...decision("request"), ownDirect: "never" as const }, after: { ...decision("allow", "anyone may call"), ownDirect: "given" as const } };
    expect(previewedText(both)).toBe("Anyone may call. Could see your IP address without asking you.");
    expect(previewedText({ before: decision("allow"), after: decision("deny", "you are off") })).toBe("You are off.");
  });

  it("makes a sentence of the server's reason", () => {
    expect(reasonText(decision("allow", "you follow each other"))).toBe("You follow each other.");
    expect(reasonText(decision("deny", ""))).toBe("They cannot call.");
  });
});

describe("who can see whose address", () => {
  const live = (direct: Partial<DirectState> | null, seen: number | null = null): Call =>
    call({
      state: "live",
      direct: direct && { phase: "routed", attempt: 0, offerer: true, own: "not_given", peer: "not_given", lastEnd: "none", ...direct },
      ownExposure: seen === null ? null : { since: seen },
    });
  const yes: DirectWish = { callId: "c1", yes: true, hushed: false };
  const no: DirectWish = { callId: "c1", yes: false, hushed: true };
  const said = (one: Call | null, wish: DirectWish | null = null): string => privacyLine(privacyView(one, wish), "Ann");
  const noon = new Date(2026, 0, 1, 12, 3).getTime();

  it("is said before the call is live, and there is nothing to ask for yet", () => {
    expect(privacyView(null, null)).toEqual({ kind: "routed", seen: null, ask: "not_yet", failed: false });
    expect(said(live(null))).toBe("Your call goes through the server. They cannot see your IP address.");
  });

  it("is said of each state", () => {
    expect(privacyView(live({}), null)).toMatchObject({ kind: "routed", ask: "possible" });
    expect(privacyView(live({ own: "never", peer: "given" }), null)).toMatchObject({ kind: "routed", ask: "never" });
    expect(privacyView(live({ peer: "given" }), null).kind).toBe("question");
    expect(privacyView(live({ own: "given" }), yes).kind).toBe("waiting");
    expect(privacyView(live({ own: "given", peer: "given", phase: "connecting", attempt: 1 }), yes).kind).toBe("connecting");
    expect(said(live({ own: "given", peer: "given", phase: "active", attempt: 1 }, noon))).toMatch(/^Direct: your IP address is visible to Ann since .*12:03/);
    expect(said(live({ attempt: 1, lastEnd: "withdrawn" }, noon))).toMatch(/^Through the server again\. Ann saw your IP address from .*12:03/);
    expect(said(live({ own: "given", peer: "given", attempt: 1, lastEnd: "failed" }))).toMatch(/^A direct connection was not possible\. Your call goes through the server\./);
  });

  it("is said of a call that is over", () => {
    const past = (more: Partial<Call>): string | null => pastExposureText(call({ state: "ended", acceptedAt: 1_000, ...more }), false);
    expect(past({})).toBe("They could not see your IP address.");
    expect(past({ ownExposure: { since: noon } })).toMatch(/^They saw your IP address from .*12:03/);
    expect(past({ acceptedAt: null })).toBeNull();
    expect(pastExposureText(call({ acceptedAt: 1_000, ownExposure: { since: noon } }), true)).toMatch(/^IP address seen from .*12:03/);
  });

  it("is private at once when the person says so, whatever the server still says", () => {
    const active = live({ own: "given", peer: "given", phase: "active", attempt: 1 }, noon);
    expect(said(active, no)).toMatch(/^Through the server again/);
    expect(mustRepeatNo(no, active)).toBe(true);
    expect(mustRepeatNo(no, live({ own: "not_given" }))).toBe(false);
    expect(mustRepeatNo(yes, active)).toBe(false);
  });

  it("is not asked again after a no, until the other side asks anew", () => {
    const asking = live({ peer: "given" });
    expect(privacyView(asking, no).kind).toBe("routed");
    const after = wishAfter(wishAfter(no, asking), live({ peer: "not_given" }));
    expect(privacyView(asking, after).kind).toBe("question");
  });

  it("is another question in another call", () => {
    expect(wishAfter(no, { ...live({}), id: "c2" })).toBeNull();
    expect(wishAfter(no, null)).toBeNull();
  });
});

describe("the wire", () => {
  it("carries settings there and back, and leaves out what does not change", () => {
    const wire = create(SettingsSchema, {
      calling: true,
      audience: [Audience.EVERYONE, Audience.MUTUALS],
      strangers: Strangers.DENY,
      enhancedCallPrivacy: true,
      direct: DirectSetting.MUTUALS,
    });
    expect(toSettings(wire)).toEqual({ calling: true, audience: ["mutuals", "everyone"], strangers: "deny", enhanced: true, direct: "mutuals", requireE2ee: false });
    const change = create(SettingsChangeSchema, fromChange({ enhanced: false, audience: [] }));
    expect([change.enhancedCallPrivacy, change.audience?.audience, change.calling, change.direct]).toEqual([false, [], undefined, undefined]);
  });

  it("reads an answer it does not know as a no", () => {
    expect(toDecision(undefined).outcome).toBe("deny");
  });
});

describe("the router's STUN addresses", () => {
  it("are its candidates, IPv6 in brackets, at most two", () => {
    const sdp = [
      "v=0",
      "a=candidate:1 1 udp 2130706431 203.0.113.9 3478 typ host",
      "a=candidate:2 1 TCP 2130706430 203.0.113.9 443 typ host tcptype passive",
      "a=candidate:3 1 UDP 2130706429 2001:db8::9 3478 typ host",
      "a=candidate:4 1 udp 2130706428 203.0.113.10 3478 typ host",
    ].join("\r\n");
    expect(stunUrls(sdp)).toEqual(["stun:203.0.113.9:3478", "stun:[2001:db8::9]:3478"]);
    expect(stunUrls("v=0")).toEqual([]);
  });
});
