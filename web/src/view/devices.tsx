// Microphone, camera and speaker: chosen and tried out, in a call or before one.

import { useEffect, useRef } from "preact/hooks";
import { currentCall } from "../core/call";
import { deviceProblem, substituteText, text } from "../text";
import type { DeviceChoice } from "../shell/capture";
import type { ViewState } from "../core/view";
import type { Props } from "./app";
import { CloseIcon } from "./icons";
import { Picture, useModal } from "./parts";

export function DevicesDialog({ state, actions }: Props) {
  const dialog = useModal();
  const { settings, devices } = state;
  const camInUse = currentCall(state.calls) !== null && state.calls.want.cam;
  return (
    <dialog ref={dialog} class="sheet" aria-labelledby="devices-title" data-testid="devices" onCancel={() => actions.closeDevices()}>
      <header class="sheet__head">
        <h2 class="sheet__title" id="devices-title" tabIndex={-1} autofocus>
          {text.devices.title}
        </h2>
        <button class="iconbutton" aria-label={text.devices.done} onClick={() => actions.closeDevices()}>
          <CloseIcon />
        </button>
      </header>
      <div class="sheet__body">
        <Choice id="mic" label={text.devices.microphone} list={devices.mics} chosen={settings.micId} onChoose={(micId) => actions.change({ micId })} />
        <Trouble kind="mic" state={state} actions={actions} />
        <Substitute kind="mic" state={state} />
        {state.mic === "on" && <Level key={settings.micId} state={state} actions={actions} />}

        <Choice id="cam" label={text.devices.camera} list={devices.cams} chosen={settings.camId} onChoose={(camId) => actions.change({ camId })} />
        <Trouble kind="cam" state={state} actions={actions} />
        <Substitute kind="cam" state={state} />
        {state.selfVideo && (state.testingCam || camInUse) && <Picture stream={state.selfVideo} label={text.call.selfView} className="sheet__preview" />}
        {!camInUse && (
          <button class="button" data-testid="preview" onClick={() => actions.testCam(!state.testingCam)}>
            {state.testingCam ? text.devices.hidePreview : text.devices.showPreview}
          </button>
        )}

        {canChooseSpeaker() ? (
          <Choice id="speaker" label={text.devices.speaker} list={devices.speakers} chosen={settings.speakerId} onChoose={(speakerId) => actions.change({ speakerId })} />
        ) : (
          <p class="muted">{text.devices.speakerFixed}</p>
        )}
        <button class="button" data-testid="test-sound" onClick={() => actions.playTestSound()}>
          {text.devices.testSound}
        </button>

        <label class="check">
          <input type="checkbox" checked={settings.shortcuts} onChange={(event) => actions.change({ shortcuts: event.currentTarget.checked })} />
          {text.devices.shortcuts}
        </label>
        {state.notifications === "default" && (
          <button class="button" onClick={() => actions.allowNotifications()}>
            {text.devices.notifications}
          </button>
        )}
        {state.notifications === "denied" && <p class="muted">{text.devices.notificationsDenied}</p>}
      </div>
      <footer class="sheet__foot">
        <button class="button button--primary" data-testid="devices-done" onClick={() => actions.closeDevices()}>
          {text.devices.done}
        </button>
      </footer>
    </dialog>
  );
}

function canChooseSpeaker(): boolean {
  return "setSinkId" in HTMLMediaElement.prototype;
}

interface ChoiceProps {
  readonly id: string;
  readonly label: string;
  readonly list: readonly DeviceChoice[];
  readonly chosen: string;
  readonly onChoose: (id: string) => void;
}

function Choice({ id, label, list, chosen, onChoose }: ChoiceProps) {
  const known = list.some((device) => device.id === chosen);
  // Before a device was opened once, the browser names none.
  const unplugged = chosen !== "" && list.length > 0 && !known;
  return (
    <div class="field">
      <label class="label" for={`choice-${id}`}>
        {label}
      </label>
      <select id={`choice-${id}`} class="input" value={known || unplugged ? chosen : ""} data-testid={`choice-${id}`} onChange={(event) => onChoose(event.currentTarget.value)}>
        <option value="">{text.devices.systemDefault}</option>
        {unplugged && <option value={chosen}>{text.devices.notPluggedIn}</option>}
        {list.map((device, index) => (
          <option key={device.id} value={device.id}>
            {device.label || text.devices.unnamed(label, index + 1)}
          </option>
        ))}
      </select>
    </div>
  );
}

function Trouble({ kind, state }: Props & { kind: "mic" | "cam" }) {
  const problem = deviceProblem(kind, state[kind]);
  return (
    <p class="field-error" role="alert">
      {problem ? `${problem.title}. ${problem.hint}` : ""}
    </p>
  );
}

function Substitute({ kind, state }: { kind: "mic" | "cam"; state: ViewState }) {
  const label = state.substitutes[kind];
  return (
    <p class="muted" role="status">
      {label === null ? "" : substituteText(kind, label)}
    </p>
  );
}

/** Moves by itself, apart from the drawing of the screens: 20 times a second would be too much for those. */
function Level({ state, actions }: Props) {
  const bar = useRef<HTMLMeterElement>(null);
  const muted = currentCall(state.calls) !== null && !state.calls.want.mic;
  useEffect(
    () =>
      actions.watchLevel((level) => {
        if (bar.current) bar.current.value = level;
      }),
    [state.mic, state.settings.micId],
  );
  return (
    <div class="level">
      <meter ref={bar} class="level__bar" min={0} max={1} value={0} aria-label={text.devices.level} data-testid="mic-level" />
      <span class="muted">{muted ? text.call.youAreMuted : text.devices.speakNow}</span>
    </div>
  );
}
