// Somebody is calling.

import type { Call } from "../core/model";
import type { Actions } from "../core/view";
import { text } from "../text";
import { HangUpIcon, PhoneIcon, ShieldIcon, VideoIcon } from "./icons";
import { Avatar, useModal } from "./parts";

/**
 * The focus goes to the name and not to a button: who is typing when it rings must neither answer nor decline by
 * accident. For the same reason Escape does nothing.
 */
export function IncomingDialog({ call, actions }: { call: Call; actions: Actions }) {
  const dialog = useModal();
  const { peer, video } = call;
  return (
    <dialog
      ref={dialog}
      class="incoming"
      role="alertdialog"
      aria-labelledby="incoming-who"
      aria-describedby="incoming-what"
      data-testid="incoming"
      onCancel={(event) => event.preventDefault()}
      onKeyDown={(event) => event.key === "Escape" && event.preventDefault()}
    >
      <div class="incoming__halo">
        <Avatar person={peer} size="l" />
      </div>
      <h2 class="incoming__who" id="incoming-who" tabIndex={-1} autofocus aria-label={text.incoming.from(peer.name)} data-testid="incoming-name">
        {peer.name}
      </h2>
      <p class="incoming__handle">@{peer.handle}</p>
      <p class="incoming__what" id="incoming-what">
        {video ? text.incoming.video : text.incoming.audio}
      </p>
      <div class="incoming__actions">
        <button class="bigbutton bigbutton--danger" data-testid="decline" onClick={() => actions.leave(call.id)}>
          <span class="bigbutton__disc">
            <HangUpIcon />
          </span>
          {text.incoming.decline}
        </button>
        <button class="bigbutton bigbutton--go" aria-label={video ? text.incoming.acceptAudio : text.incoming.accept} data-testid="accept" onClick={() => actions.accept(call.id, false)}>
          <span class="bigbutton__disc">
            <PhoneIcon />
          </span>
          {video ? text.incoming.acceptNoCamera : text.incoming.accept}
        </button>
        <button class="bigbutton bigbutton--go" aria-label={text.incoming.acceptVideo} data-testid="accept-video" onClick={() => actions.accept(call.id, true)}>
          <span class="bigbutton__disc">
            <VideoIcon />
          </span>
          {text.incoming.withCamera}
        </button>
      </div>
      <p class="incoming__privacy">
        <ShieldIcon />
        {text.incoming.privacy}
      </p>
    </dialog>
  );
}
