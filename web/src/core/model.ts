// The nouns of the client. Wire messages become these once, in wire.ts; everything else sees only these.

export type CallState = "created" | "ringing" | "accepted" | "live" | "ended";

export type EndReason =
  | "hung_up"
  | "declined"
  | "timed_out"
  | "busy"
  | "cancelled"
  | "answered_elsewhere"
  | "party_lost"
  | "media_failed"
  | "node_lost"
  | "unknown";

export interface Person {
  readonly handle: string;
  readonly name: string;
}

export interface MediaState {
  readonly audio: boolean;
  readonly video: boolean;
}

/** Where media goes, as the server has it. */
export type DirectPhase = "routed" | "negotiating" | "connecting" | "active";

/** Whether a party agrees to a direct connection: ruled out by its settings, not given (yet), given. */
export type Consent = "never" | "not_given" | "given";

/** The direct connection of a call, as the server has it. */
export interface DirectState {
  readonly phase: DirectPhase;
  /** Counts from 1; 0 before the first. */
  readonly attempt: number;
  /** This device makes the offer of the present attempt. */
  readonly offerer: boolean;
  readonly own: Consent;
  readonly peer: Consent;
  readonly lastEnd: "none" | "withdrawn" | "failed";
}

/** That one party learned of the other's IP address, and since when. */
export interface Exposure {
  readonly since: number;
}

/** One call as this device sees it. Times are milliseconds since the Unix epoch. */
export interface Call {
  readonly id: string;
  /** Grows with every change; an older one is ignored. */
  readonly revision: number;
  readonly state: CallState;
  /** Set when `state` is "ended". */
  readonly endReason: EndReason | null;
  readonly role: "caller" | "callee";
  readonly peer: Person;
  /** Placed as a video call. */
  readonly video: boolean;
  readonly createdAt: number | null;
  readonly acceptedAt: number | null;
  readonly liveAt: number | null;
  readonly endedAt: number | null;
  readonly own: MediaState;
  readonly peerMedia: MediaState;
  readonly peerConnected: boolean;
  /** This device placed or answered the call, or it rings here. */
  readonly onThisDevice: boolean;
  readonly legWanted: boolean;
  /** The way to this device carries no picture at present; sound goes on. */
  readonly withoutPictures: boolean;
  /** Null unless the call is live. */
  readonly direct: DirectState | null;
  /** What the other party learned of this one's address; null for nothing. */
  readonly ownExposure: Exposure | null;
}

export interface Contact {
  readonly person: Person;
  readonly online: boolean;
}

/** Who can put a failure right, which decides how the client goes on. */
export type FailureKind =
  /** The server cannot be reached or is restarting: try again by itself. */
  | "unreachable"
  /** The token is missing, expired or not accepted: sign in again. */
  | "signed_out"
  /** The server understood and said no: tell the person why. */
  | "refused";

/** Why a request did not succeed. `reason` is the server's stable code, or "" if it gave none. */
export interface Failure {
  readonly kind: FailureKind;
  readonly reason: string;
  /** The server's own sentence; shown only for a reason this client does not know. */
  readonly message: string;
}

export function isOver(call: Call): boolean {
  return call.state === "ended";
}

/** Answered, so media may flow both ways. */
export function isAnswered(call: Call): boolean {
  return call.state === "accepted" || call.state === "live";
}

/** The other party's picture is to be seen: it is sent, and the way to here carries it. Else the last one would stand still. */
export function showsPeer(call: Call): boolean {
  return isAnswered(call) && call.peerMedia.video && call.peerConnected && !call.withoutPictures;
}

/** It would be, if the way to here were not too slow for it. */
export function isTooSlowForPeer(call: Call): boolean {
  return isAnswered(call) && call.peerMedia.video && call.peerConnected && call.withoutPictures;
}

/** Not answered and not over. */
export function isPending(call: Call): boolean {
  return call.state === "created" || call.state === "ringing";
}
