// What an account chose about calls, and what is asked about it: settings being edited, who can call whom, permissions,
// blocks, call requests. Pure: the shell asks the server.

import type { Consent, Failure, Person } from "./model";

export type Audience = "mutuals" | "following" | "address_book" | "dm_accepted" | "verified" | "everyone";

/** In the order in which they are offered: the closest people first. */
export const AUDIENCES: readonly Audience[] = ["mutuals", "following", "address_book", "dm_accepted", "verified", "everyone"];

export type DirectSetting = "never" | "ask" | "mutuals" | "anyone";

export const DIRECT_SETTINGS: readonly DirectSetting[] = ["never", "ask", "mutuals", "anyone"];

export interface PrivacySettings {
  readonly calling: boolean;
  /** In the order of AUDIENCES, each at most once. */
  readonly audience: readonly Audience[];
  readonly strangers: "request" | "deny";
  /** Everything through the server, whatever `direct` says. */
  readonly enhanced: boolean;
  readonly direct: DirectSetting;
  readonly requireE2ee: boolean;
}

/** What is not in it stays as it is. */
export type SettingsChange = Partial<PrivacySettings>;

export interface Decision {
  readonly outcome: "allow" | "request" | "deny";
  /** Stable code. */
  readonly reason: string;
  /** The server's own words for it. */
  readonly sentence: string;
  /** What this account's settings say of a direct connection with this person. */
  readonly ownDirect: Consent;
}

export interface PersonDecision {
  readonly person: Person;
  readonly decision: Decision;
}

/** Somebody for whom a change of settings matters: whether they can call, or what they can see. */
export interface PreviewedPerson {
  readonly person: Person;
  readonly before: Decision;
  readonly after: Decision;
}

export interface Preview {
  readonly changes: readonly PreviewedPerson[];
  readonly changed: number;
  readonly callersBefore: number;
  readonly callersAfter: number;
  readonly strangerBefore: Decision | null;
  readonly strangerAfter: Decision | null;
}

export interface Standing {
  readonly person: Person;
  readonly outgoing: Decision;
  readonly incoming: Decision;
}

export interface Grant {
  readonly person: Person;
  readonly createdAt: number | null;
  readonly expiresAt: number | null;
  readonly fromRequest: boolean;
}

export interface Blocked {
  readonly person: Person;
  readonly since: number | null;
}

export interface CallRequest {
  readonly person: Person;
  readonly incoming: boolean;
  readonly state: "sent" | "accepted" | "closed";
  readonly createdAt: number | null;
}

export interface Lists {
  readonly callers: readonly PersonDecision[];
  /** Everybody with calling on may call; then `callers` are merely those who are known. */
  readonly everyone: boolean;
  readonly grants: readonly Grant[];
  readonly blocks: readonly Blocked[];
}

export interface PrivacyState {
  /** Null until the server has said. */
  readonly saved: PrivacySettings | null;
  /** The account has answered the first question. */
  readonly decided: boolean;
  /** What the person has changed and not saved. */
  readonly draft: SettingsChange;
  /** What the draft would do; null while that is being asked or where there is nothing to ask. */
  readonly preview: Preview | null;
  readonly saving: boolean;
  /** The last thing asked for did not succeed. */
  readonly failure: Failure | null;
  readonly lists: Lists | null;
  readonly requests: { readonly incoming: readonly CallRequest[]; readonly outgoing: readonly CallRequest[] } | null;
  /** "Can I call them?", by handle, as last answered. */
  readonly standings: Readonly<Record<string, Standing | Failure | undefined>>;
}

export const NO_PRIVACY: PrivacyState = {
  saved: null,
  decided: false,
  draft: {},
  preview: null,
  saving: false,
  failure: null,
  lists: null,
  requests: null,
  standings: {},
};

export type PrivacyEvent =
  | { readonly type: "settings"; readonly settings: PrivacySettings; readonly decided: boolean }
  | { readonly type: "edit"; readonly change: SettingsChange }
  | { readonly type: "discard" }
  | { readonly type: "previewed"; readonly draft: SettingsChange; readonly preview: Preview }
  | { readonly type: "saving" }
  | { readonly type: "failed"; readonly failure: Failure }
  | { readonly type: "lists"; readonly lists: Lists }
  | { readonly type: "requests"; readonly incoming: readonly CallRequest[]; readonly outgoing: readonly CallRequest[] }
  | { readonly type: "request"; readonly request: CallRequest }
  | { readonly type: "standing"; readonly handle: string; readonly standing: Standing | Failure }
  /** What was answered of people may no longer be so. */
  | { readonly type: "forget_standings" }
  | { readonly type: "clear" };

export function stepPrivacy(state: PrivacyState, event: PrivacyEvent): PrivacyState {
  switch (event.type) {
    case "settings": {
      // Saved here or in another tab: what is not different any more is no change any more.
      const draft = only(event.settings, state.draft);
      const preview = sameChange(draft, state.draft) ? state.preview : null;
      return { ...state, saved: event.settings, decided: state.decided || event.decided, draft, preview, saving: false, failure: null };
    }
    case "edit":
      return state.saved ? { ...state, draft: only(state.saved, { ...state.draft, ...event.change }), preview: null, failure: null } : state;
    case "discard":
      return { ...state, draft: {}, preview: null, failure: null };
    case "previewed":
      return sameChange(state.draft, event.draft) ? { ...state, preview: event.preview } : state;
    case "saving":
      return { ...state, saving: true, failure: null };
    case "failed":
      return { ...state, saving: false, failure: event.failure };
    case "lists":
      return { ...state, lists: event.lists };
    case "requests":
      return { ...state, requests: { incoming: event.incoming, outgoing: event.outgoing } };
    case "request":
      return { ...state, requests: withRequest(state.requests ?? { incoming: [], outgoing: [] }, event.request) };
    case "standing":
      return { ...state, standings: { ...state.standings, [event.handle]: event.standing } };
    case "forget_standings":
      return { ...state, standings: {} };
    case "clear":
      return NO_PRIVACY;
  }
}

/** The settings as they would be after saving. */
export function drafted(state: PrivacyState): PrivacySettings | null {
  return state.saved && { ...state.saved, ...state.draft };
}

export function isEdited({ draft }: PrivacyState): boolean {
  return Object.keys(draft).length > 0;
}

/** How many call requests wait for an answer. */
export function waitingRequests({ requests }: PrivacyState): number {
  return requests?.incoming.length ?? 0;
}

/** `audience` with or without `one`, in the fixed order. */
export function toggled(audience: readonly Audience[], one: Audience, on: boolean): readonly Audience[] {
  return AUDIENCES.filter((each) => (each === one ? on : audience.includes(each)));
}

/** The part of `change` that differs from `settings`. */
function only(settings: PrivacySettings, change: SettingsChange): SettingsChange {
  const differs = Object.entries(change).filter(([key, value]) => !same(settings[key as keyof PrivacySettings], value));
  return Object.fromEntries(differs) as SettingsChange;
}

function sameChange(one: SettingsChange, other: SettingsChange): boolean {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]) as Set<keyof SettingsChange>;
  return [...keys].every((key) => key in one && key in other && same(one[key], other[key]));
}

function same(one: unknown, other: unknown): boolean {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  return one.length === other.length && one.every((value) => other.includes(value));
}

function withRequest(requests: NonNullable<PrivacyState["requests"]>, request: CallRequest): NonNullable<PrivacyState["requests"]> {
  const side = request.incoming ? "incoming" : "outgoing";
  const others = requests[side].filter((held) => held.person.handle !== request.person.handle);
  const waits = request.incoming ? request.state === "sent" : request.state !== "closed";
  return { ...requests, [side]: waits ? [request, ...others] : others };
}
