import { describe, expect, it } from "vitest";
import { announce, type Announcement, type Audible } from "../src/core/announce";

/** What is said, change after change, from before the call. */
function told(...changes: Partial<Audible>[]): (Announcement | "" | null)[] {
  let state: Audible = { connected: false, mic: true, cam: false };
  return changes.map((change) => {
    const before = state;
    state = { ...state, ...change };
    return announce(before, state);
  });
}

describe("what is spoken in a call", () => {
  it("begins when it is connected, and not with a switch before that", () => {
    expect(told({ cam: true }, { mic: false }, { mic: true }, { connected: true }, {})).toEqual([null, null, null, "connected", null]);
  });

  it("says to somebody who comes in muted that they are", () => {
    expect(told({ mic: false }, { connected: true })).toEqual([null, "muted"]);
  });

  it("follows microphone and camera", () => {
    const switched = told({ connected: true }, { mic: false }, { mic: true }, { cam: true }, { cam: false });
    expect(switched).toEqual(["connected", "muted", "unmuted", "camera_on", "camera_off"]);
  });

  it("takes back that it is connected when it no longer is, and says it again", () => {
    expect(told({ connected: true }, { connected: false }, { mic: false }, { mic: true }, { connected: true })).toEqual(["connected", "", null, null, "connected"]);
  });
});
