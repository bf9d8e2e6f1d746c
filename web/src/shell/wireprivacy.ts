// Wire messages of PrivacyService to the client's nouns and back, once, here.

import { timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import { CallRequestState, type CallRequest as WireRequest } from "../gen/duocast/v1/common_pb";
import {
  Audience as WireAudience,
  DirectSetting as WireDirect,
  Outcome,
  Strangers,
  type Blocked as WireBlocked,
  type Decision as WireDecision,
  type Grant as WireGrant,
  type PersonDecision as WirePersonDecision,
  type PreviewSettingsResponse,
  type Settings as WireSettings,
} from "../gen/duocast/v1/privacy_pb";
import {
  AUDIENCES,
  type Audience,
  type Blocked,
  type CallRequest,
  type Decision,
  type DirectSetting,
  type Grant,
  type PersonDecision,
  type Preview,
  type PrivacySettings,
  type SettingsChange,
} from "../core/privacy";
import { toConsent, toPerson } from "./wire";

const AUDIENCE: Record<Audience, WireAudience> = {
  mutuals: WireAudience.MUTUALS,
  following: WireAudience.FOLLOWING,
  address_book: WireAudience.ADDRESS_BOOK,
  verified: WireAudience.VERIFIED,
  dm_accepted: WireAudience.DM_ACCEPTED,
  everyone: WireAudience.EVERYONE,
};

const DIRECT: Record<DirectSetting, WireDirect> = {
  never: WireDirect.NEVER,
  ask: WireDirect.ASK,
  mutuals: WireDirect.MUTUALS,
  anyone: WireDirect.ANYONE,
};

const REQUEST_STATES: Record<CallRequestState, CallRequest["state"]> = {
  [CallRequestState.UNSPECIFIED]: "sent",
  [CallRequestState.SENT]: "sent",
  [CallRequestState.ACCEPTED]: "accepted",
  [CallRequestState.CLOSED]: "closed",
};

export function toSettings(wire: WireSettings): PrivacySettings {
  const direct = (Object.keys(DIRECT) as DirectSetting[]).find((one) => DIRECT[one] === wire.direct);
  return {
    calling: wire.calling,
    audience: AUDIENCES.filter((one) => wire.audience.includes(AUDIENCE[one])),
    strangers: wire.strangers === Strangers.DENY ? "deny" : "request",
    enhanced: wire.enhancedCallPrivacy,
    direct: direct ?? "never",
    requireE2ee: wire.requireE2ee,
  };
}

/** Only what is set is in the message; the server keeps the rest. */
export function fromChange({ calling, audience, strangers, enhanced, direct, requireE2ee }: SettingsChange) {
  return {
    ...(calling === undefined ? {} : { calling }),
    ...(audience === undefined ? {} : { audience: { audience: audience.map((one) => AUDIENCE[one]) } }),
    ...(strangers === undefined ? {} : { strangers: strangers === "deny" ? Strangers.DENY : Strangers.REQUEST }),
    ...(enhanced === undefined ? {} : { enhancedCallPrivacy: enhanced }),
    ...(direct === undefined ? {} : { direct: DIRECT[direct] }),
    ...(requireE2ee === undefined ? {} : { requireE2ee }),
  };
}

/** An outcome that this client does not know, or none, is a no. */
export function toDecision(wire: WireDecision | undefined): Decision {
  const outcome = wire?.outcome === Outcome.ALLOW ? "allow" : wire?.outcome === Outcome.REQUEST ? "request" : "deny";
  return { outcome, reason: wire?.reason ?? "", sentence: wire?.sentence ?? "", ownDirect: toConsent(wire?.ownDirect ?? 0) };
}

export function toPersonDecision(wire: WirePersonDecision): PersonDecision {
  return { person: toPerson(wire.person), decision: toDecision(wire.decision) };
}

export function toPreview(wire: PreviewSettingsResponse): Preview {
  return {
    changes: wire.changes.map(({ person, before, after }) => ({
      person: toPerson(person),
      before: toDecision(before),
      after: toDecision(after),
    })),
    changed: wire.changed,
    callersBefore: wire.callersBefore,
    callersAfter: wire.callersAfter,
    strangerBefore: wire.strangerBefore ? toDecision(wire.strangerBefore) : null,
    strangerAfter: wire.strangerAfter ? toDecision(wire.strangerAfter) : null,
  };
}

export function toGrant(wire: WireGrant): Grant {
  return {
    person: toPerson(wire.person),
    createdAt: toMs(wire.createdAt),
    expiresAt: toMs(wire.expiresAt),
    fromRequest: wire.fromRequest,
  };
}

export function toBlocked(wire: WireBlocked): Blocked {
  return { person: toPerson(wire.person), since: toMs(wire.since) };
}

export function toRequest(wire: WireRequest): CallRequest {
  return {
    person: toPerson(wire.person),
    incoming: wire.incoming,
    state: REQUEST_STATES[wire.state] ?? "sent",
    createdAt: toMs(wire.createdAt),
  };
}

function toMs(wire: Timestamp | undefined): number | null {
  return wire ? timestampMs(wire) : null;
}
