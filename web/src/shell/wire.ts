// Wire messages to the client's nouns, once, here.

import { Code, ConnectError } from "@connectrpc/connect";
import { timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import {
  CallState as WireState,
  DirectEnd,
  DirectPhase as WirePhase,
  EndReason as WireReason,
  Presence,
  Role,
  type Call as WireCall,
  type Contact as WireContact,
  type DirectSignal as WireSignal,
  type DirectState as WireDirect,
  type MediaState as WireMedia,
} from "../gen/duocast/v1/call_pb";
import { DirectConsent, type Person as WirePerson } from "../gen/duocast/v1/common_pb";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb";
import type { Signal } from "../core/direct";
import type { Call, CallState, Consent, Contact, DirectPhase, DirectState, EndReason, Failure, FailureKind, MediaState, Person } from "../core/model";

const STATES: Record<WireState, CallState> = {
  [WireState.UNSPECIFIED]: "created",
  [WireState.CREATED]: "created",
  [WireState.RINGING]: "ringing",
  [WireState.ACCEPTED]: "accepted",
  [WireState.LIVE]: "live",
  [WireState.ENDED]: "ended",
};

const REASONS: Record<WireReason, EndReason> = {
  [WireReason.UNSPECIFIED]: "unknown",
  [WireReason.HUNG_UP]: "hung_up",
  [WireReason.DECLINED]: "declined",
  [WireReason.TIMED_OUT]: "timed_out",
  [WireReason.BUSY]: "busy",
  [WireReason.CANCELLED]: "cancelled",
  [WireReason.ANSWERED_ELSEWHERE]: "answered_elsewhere",
  [WireReason.PARTY_LOST]: "party_lost",
  [WireReason.MEDIA_FAILED]: "media_failed",
  [WireReason.NODE_LOST]: "node_lost",
};

export function toCall(wire: WireCall): Call {
  const state = STATES[wire.state] ?? "created";
  return {
    id: wire.callId,
    revision: Number(wire.revision),
    state,
    endReason: state === "ended" ? (REASONS[wire.endReason] ?? "unknown") : null,
    role: wire.role === Role.CALLEE ? "callee" : "caller",
    peer: toPerson(wire.peer),
    video: wire.video,
    createdAt: toMs(wire.createdAt),
    acceptedAt: toMs(wire.acceptedAt),
    liveAt: toMs(wire.liveAt),
    endedAt: toMs(wire.endedAt),
    own: toMedia(wire.ownMedia),
    peerMedia: toMedia(wire.peerMedia),
    peerConnected: wire.peerConnected,
    onThisDevice: wire.onThisDevice,
    legWanted: wire.legWanted,
    withoutPictures: wire.withoutPictures,
    direct: wire.direct ? toDirect(wire.direct) : null,
    ownExposure: wire.ownExposure ? { since: toMs(wire.ownExposure.since) ?? 0 } : null,
  };
}

const PHASES: Record<WirePhase, DirectPhase> = {
  [WirePhase.UNSPECIFIED]: "routed",
  [WirePhase.ROUTED]: "routed",
  [WirePhase.NEGOTIATING]: "negotiating",
  [WirePhase.CONNECTING]: "connecting",
  [WirePhase.ACTIVE]: "active",
};

const CONSENTS: Record<DirectConsent, Consent> = {
  [DirectConsent.UNSPECIFIED]: "not_given",
  [DirectConsent.NEVER]: "never",
  [DirectConsent.NOT_GIVEN]: "not_given",
  [DirectConsent.GIVEN]: "given",
};

const ENDS: Record<DirectEnd, DirectState["lastEnd"]> = {
  [DirectEnd.UNSPECIFIED]: "none",
  [DirectEnd.NONE]: "none",
  [DirectEnd.WITHDRAWN]: "withdrawn",
  [DirectEnd.FAILED]: "failed",
};

function toDirect(wire: WireDirect): DirectState {
  return {
    phase: PHASES[wire.phase] ?? "routed",
    attempt: wire.attempt,
    offerer: wire.offerer,
    own: toConsent(wire.ownConsent),
    peer: toConsent(wire.peerConsent),
    lastEnd: ENDS[wire.lastEnd] ?? "none",
  };
}

export function toConsent(wire: DirectConsent): Consent {
  return CONSENTS[wire] ?? "not_given";
}

/** Null for a kind that this client does not know. */
export function toSignal({ callId, attempt, kind }: WireSignal): Signal | null {
  switch (kind.case) {
    case "offer":
    case "answer":
      return { callId, attempt, kind: kind.case, sdp: kind.value };
    case "candidates":
      return { callId, attempt, kind: "candidates", candidates: kind.value.candidates };
    default:
      return null;
  }
}

export function toPerson(wire: WirePerson | undefined): Person {
  const handle = wire?.handle ?? "";
  return { handle, name: wire?.displayName || handle };
}

export function toContact(wire: WireContact): Contact {
  return { person: toPerson(wire.person), online: wire.presence === Presence.ONLINE };
}

function toMedia(wire: WireMedia | undefined): MediaState {
  return { audio: wire?.audio ?? true, video: wire?.video ?? false };
}

function toMs(wire: Timestamp | undefined): number | null {
  return wire ? timestampMs(wire) : null;
}

/** The domain of the error details that this client understands. */
const DOMAIN = "duocast.dev";

export function toFailure(error: unknown): Failure {
  const wire = ConnectError.from(error);
  const info = wire.findDetails(ErrorInfoSchema).find((detail) => detail.domain === DOMAIN);
  const reason = info?.reason ?? "";
  const kind = reason === SESSION_UNKNOWN ? "unreachable" : kindOf(wire.code, error);
  return { kind, reason, message: wire.rawMessage };
}

/** The server has lost this device's session; the stream is about to make a new one, and then it can be tried again. */
const SESSION_UNKNOWN = "SESSION_UNKNOWN";

function kindOf(code: Code, error: unknown): FailureKind {
  switch (code) {
    case Code.Unauthenticated:
      return "signed_out";
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Canceled:
    case Code.Aborted:
    case Code.Internal:
      return "unreachable";
    case Code.Unknown:
      // What the browser throws when there is no connection carries no code of the server.
      return error instanceof ConnectError && error.findDetails(ErrorInfoSchema).length > 0 ? "refused" : "unreachable";
    default:
      return "refused";
  }
}
