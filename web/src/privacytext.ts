// The words about who can call whom and who can see whose address. Plain, and no longer than they have to be.

import type { PrivacyView } from "./core/directview";
import type { Call } from "./core/model";
import type { Audience, CallRequest, Decision, DirectSetting, Preview, PreviewedPerson } from "./core/privacy";

export const privacyText = {
  firstRun: {
    title: "Do you want to take calls?",
    lead: "With calling on, people who follow you and whom you follow can ring you here, others have to ask first, and nobody learns your IP address.",
    yes: "Turn calling on",
    no: "Leave it off",
    foot: "You can change this at any time under Calls and privacy.",
  },

  page: {
    title: "Calls and privacy",
    back: "Back",
    loading: "Loading your settings…",
    failed: "Your settings could not be loaded.",
    tryAgain: "Try again",
  },

  calling: {
    title: "Calling",
    label: "Take and make calls",
    hint: "While this is off, nothing of a call reaches your devices, and callers hear that you cannot be reached.",
  },

  audience: {
    title: "Who can call you",
    lead: "Anybody who fits one of these rings you without asking.",
    none: "Only people to whom you gave permission.",
    others: "Everybody else",
    request: "May ask for permission to call",
    requestHint: "You see it in a list. Nothing rings.",
    deny: "Cannot reach you",
    denyHint: "To them you look as if calling were off.",
    all: "With Everyone there is nobody else.",
  },

  address: {
    title: "Your IP address",
    lead: "It tells roughly where you are and who your provider is.",
    enhanced: "Always go through the server (hides your IP address)",
    enhancedHint: "Nobody you talk to sees your address, and you do not see theirs.",
    direct: "Connect directly",
    directLead: "A direct connection can be a little quicker. Both of you have to agree, and each sees the other's IP address.",
    locked: "Not used while every call goes through the server.",
  },

  e2ee: {
    title: "End-to-end encryption",
    label: "Only end-to-end encrypted calls",
    hint: "Duocast cannot make such calls yet, so this blocks all your calls. Today calls are encrypted between each of you and the server.",
  },

  save: {
    title: "Before you save",
    asking: "Working out what this changes…",
    save: "Save",
    saving: "Saving…",
    discard: "Discard",
    nobody: "Nobody you know is affected.",
    more: (count: number) => `and ${count} more`,
    why: "Who and why",
    failed: "That was not saved.",
  },

  people: {
    callers: "Who can ring you now",
    nobody: "Nobody can ring you.",
    everyone: "Everyone with calling on can ring you. Among them people you know:",
    everyoneNobody: "Everyone with calling on can ring you.",
    grants: "Permissions you gave",
    noGrants: "None. Accepting a call request gives one.",
    revoke: "Revoke",
    revokeFor: (name: string) => `Revoke the permission of ${name}`,
    until: (date: string) => `May call until ${date}`,
    fromRequest: "asked for it",
    blocks: "Blocked",
    noBlocks: "Nobody.",
    since: (date: string) => `Since ${date}`,
    unblock: "Unblock",
    unblockFor: (name: string) => `Unblock ${name}`,
  },

  requests: {
    title: "Call requests",
    tab: "Requests",
    badge: (count: number) => (count === 1 ? "1 request waits" : `${count} requests wait`),
    none: "No requests",
    noneHint: "People outside your circle can ask here for permission to call. Nothing rings.",
    wants: "Wants to be able to call you",
    accept: "Allow",
    acceptFor: (name: string) => `Allow ${name} to call you`,
    howLong: "For how long",
    days: (days: number) => (days === 1 ? "1 day" : days === 365 ? "1 year" : `${days} days`),
    decline: "Decline",
    declineFor: (name: string) => `Decline the request of ${name}`,
    block: "Block",
    sent: "Asked by you",
    sentState: { sent: "Waiting for an answer", accepted: "Accepted: you can call", closed: "Closed" } satisfies Record<CallRequest["state"], string>,
  },

  person: {
    ask: "Ask for permission to call",
    asked: "You have asked. They see it in a list; nothing rings.",
    checking: "Checking whether you can call…",
    incoming: "Calling you",
    allow: "Allow to call for 30 days",
    block: (name: string) => `Block ${name}`,
    blockSure: (name: string) => `Block ${name}? Neither of you can call the other any more. They are not told.`,
    blockNow: "Block",
    blockAndEnd: (name: string) => `Block ${name} and end the call`,
    cancel: "Cancel",
    blocked: "Blocked.",
    unblock: "Unblock",
    open: (name: string) => `About ${name}`,
  },

  call: {
    goDirect: "Go direct",
    askAgain: "Ask again",
    goPrivate: "Go private now",
    withdraw: "Stay private",
    yes: "Yes",
    no: "No",
    details: "More",
    neverShort: "Off in your settings.",
    neverReason: "Your settings keep every call on the server. You can change that under Calls and privacy.",
    question: (name: string) => `${name} asks for a direct connection.`,
    questionHint: (name: string) => `It would show your IP address to ${name}, and theirs to you.`,
    goDirectHint: (name: string) => `Asks ${name} first. Each of you would see the other's IP address.`,
    failed: "That could not be asked for. Try again.",
  },
} as const;

const AUDIENCES: Record<Audience, { label: string; hint: string }> = {
  mutuals: { label: "People you follow who follow you", hint: "" },
  following: { label: "People you follow", hint: "Whether or not they follow you." },
  address_book: { label: "People in your address book", hint: "" },
  dm_accepted: { label: "People whose message you accepted", hint: "" },
  verified: { label: "People with a verified badge", hint: "A badge can be bought. It does not mean that you know them." },
  everyone: { label: "Everyone", hint: "" },
};

export function audienceText(audience: Audience): { label: string; hint: string } {
  return AUDIENCES[audience];
}

const DIRECT: Record<DirectSetting, { label: string; hint: string }> = {
  never: { label: "Never", hint: "You are not even asked." },
  ask: { label: "Ask me in the call", hint: "" },
  mutuals: { label: "With people I follow who follow me", hint: "Without asking me. With others never." },
  anyone: { label: "With anyone I talk to", hint: "Without asking me." },
};

export function directText(setting: DirectSetting): { label: string; hint: string } {
  return DIRECT[setting];
}

/** The server's reason, as a sentence of a page. */
export function reasonText(decision: Decision): string {
  const { sentence } = decision;
  if (sentence === "") return decision.outcome === "allow" ? "They can call." : "They cannot call.";
  const whole = sentence.charAt(0).toUpperCase() + sentence.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

const STRANGER: Record<Decision["outcome"], string> = {
  allow: "Strangers could ring you without asking.",
  request: "Strangers could ask for permission to call you; nothing would ring.",
  deny: "Strangers could not reach you.",
};

/** What a change of settings would do, in at most a few sentences. */
export function previewText(preview: Preview): string[] {
  const gained = preview.changes.filter(({ before, after }) => after.outcome === "allow" && before.outcome !== "allow");
  const lost = preview.changes.filter(({ before, after }) => before.outcome === "allow" && after.outcome !== "allow");
  const said: string[] = [];
  // The list may be cut off; where it is not, it counts exactly who comes and who goes.
  const whole = preview.changes.length === preview.changed;
  const net = preview.callersAfter - preview.callersBefore;
  const more = whole ? gained.length : Math.max(gained.length, net);
  const fewer = whole ? lost.length : Math.max(lost.length, -net);
  if (more > 0) said.push(`${people(more, true)} could ring you: ${names(gained.map(({ person }) => person.name), more)}.`);
  if (fewer > 0) said.push(`${people(fewer, false)} could no longer ring you: ${names(lost.map(({ person }) => person.name), fewer)}.`);
  if (preview.strangerAfter && preview.strangerBefore?.outcome !== preview.strangerAfter.outcome) {
    said.push(STRANGER[preview.strangerAfter.outcome]);
  }
  said.push(...addressText(preview, whole));
  if (said.length === 0) said.push(privacyText.save.nobody);
  return said;
}

type AddressChange = "open" | "asks" | "closed";

const ADDRESS: Record<AddressChange, string> = {
  open: "could see your IP address without asking you.",
  asks: "could see your IP address only after you say yes.",
  closed: "could not see your IP address any more, nor ask to.",
};

/** What a change does to somebody's way to this account's IP address; null: nothing. */
function addressChange(before: Decision | null, after: Decision | null): AddressChange | null {
  if (!before || !after || before.ownDirect === after.ownDirect) return null;
  return after.ownDirect === "given" ? "open" : after.ownDirect === "not_given" ? "asks" : "closed";
}

/** Who could see this account's IP address. The list may be cut off: then it says at least how many. */
function addressText({ changes, strangerBefore, strangerAfter }: Preview, whole: boolean): string[] {
  const said: string[] = [];
  for (const what of ["open", "asks", "closed"] as const) {
    const count = changes.filter(({ before, after }) => addressChange(before, after) === what).length;
    if (what === "open" && addressChange(strangerBefore, strangerAfter) === what) said.push(`Anyone you talk to ${ADDRESS[what]}`);
    else if (count > 0) said.push(`${whole ? "" : "At least "}${people(count, false)} ${ADDRESS[what]}`);
  }
  return said;
}

/** What a change does to one person, with the reason. */
export function previewedText({ before, after }: Pick<PreviewedPerson, "before" | "after">): string {
  const address = addressChange(before, after);
  const said = address ? [`${ADDRESS[address].charAt(0).toUpperCase()}${ADDRESS[address].slice(1)}`] : [];
  if (!address || before.outcome !== after.outcome) said.unshift(reasonText(after));
  return said.join(" ");
}

function people(count: number, more: boolean): string {
  const extra = more ? "more " : "";
  return count === 1 ? `1 ${more ? "more " : ""}person` : `${count} ${extra}people`;
}

/** How many names are said before "and 5 more". */
const NAMES_MAX = 3;

function names(all: readonly string[], count: number): string {
  const said = all.slice(0, NAMES_MAX);
  const rest = count - said.length;
  if (rest > 0) return `${said.join(", ")} ${privacyText.save.more(rest)}`;
  return said.length > 1 ? `${said.slice(0, -1).join(", ")} and ${said[said.length - 1]}` : (said[0] ?? "");
}

/** Who can see whose address, during a call. */
export function privacyLine(view: PrivacyView, name: string): string {
  const seen = view.seen === null ? null : time(view.seen);
  switch (view.kind) {
    case "direct":
      return seen ? `Direct: your IP address is visible to ${name} since ${seen}.` : `Direct: your IP address is visible to ${name}.`;
    case "connecting":
      return `Setting up a direct connection. ${seen ? `Your IP address is visible to ${name} since ${seen}.` : ""}`.trim();
    case "waiting":
      return `${through(seen, name)} ${view.left ? `${name} went private.` : `Waiting for ${name} to agree to a direct connection.`}`;
    case "question":
      return through(seen, name);
    case "routed":
      return view.failed ? `A direct connection was not possible. ${through(seen, name)}` : through(seen, name);
  }
}

/** Of a call that is over; null for one that nobody answered, in which no address could cross. `short` for a narrow list. */
export function pastExposureText(call: Call, short: boolean): string | null {
  if (call.ownExposure) {
    const from = time(call.ownExposure.since);
    return short ? `IP address seen from ${from}` : `They saw your IP address from ${from}.`;
  }
  if (call.acceptedAt === null) return null;
  return short ? "IP address not seen" : "They could not see your IP address.";
}

function through(seen: string | null, name: string): string {
  return seen
    ? `Through the server again. ${name} saw your IP address from ${seen}.`
    : "Your call goes through the server. They cannot see your IP address.";
}

function time(ms: number): string {
  return new Date(ms).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}

export function day(ms: number | null): string {
  return ms === null ? "" : new Date(ms).toLocaleDateString(undefined, { day: "numeric", month: "long", year: "numeric" });
}
