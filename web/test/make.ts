// Fixtures in the words of the stories.

import type { Call, Failure, Person } from "../src/core/model";

export const ANN: Person = { handle: "ann", name: "Ann" };

export function call(more: Partial<Call> = {}): Call {
  return {
    id: "c1",
    revision: 1,
    state: "ringing",
    endReason: null,
    role: "caller",
    peer: ANN,
    video: false,
    createdAt: 1_000,
    acceptedAt: null,
    liveAt: null,
    endedAt: null,
    own: { audio: true, video: false },
    peerMedia: { audio: true, video: false },
    peerConnected: true,
    onThisDevice: true,
    legWanted: true,
    withoutPictures: false,
    direct: null,
    ownExposure: null,
    ...more,
  };
}

export function refusal(reason: string): Failure {
  return { kind: "refused", reason, message: "No." };
}

export const UNREACHABLE: Failure = { kind: "unreachable", reason: "", message: "" };
