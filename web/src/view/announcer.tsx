// The call's live region for what nobody sees as words.

import { useRef } from "preact/hooks";
import { announce, type Announcement, type Audible } from "../core/announce";
import type { Call } from "../core/model";
import type { ViewState } from "../core/view";
import { announcementText } from "../text";

const SILENT: Audible = { connected: false, mic: false, cam: false };

/** There from the first moment of the call: a region that comes together with its words is often not read. */
export function Announcer({ state, call }: { state: ViewState; call: Call | null }) {
  const heard = useRef(SILENT);
  const said = useRef<Announcement | "">("");
  const now: Audible = { connected: call?.state === "live" && state.leg === "connected", ...state.calls.want };
  said.current = announce(heard.current, now) ?? said.current;
  heard.current = now;
  return (
    <p class="sr-only" role="status" data-testid="announcer">
      {said.current === "" ? "" : announcementText(said.current, call?.peer.name ?? "")}
    </p>
  );
}
