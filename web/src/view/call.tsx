// The call: it rings over there, it connects, it is live.

import { useEffect, useState } from "preact/hooks";
import { currentCall } from "../core/call";
import { isAnswered, isPending, isTooSlowForPeer, showsPeer, type Call, type Person } from "../core/model";
import type { ViewState } from "../core/view";
import { clock, deviceProblem, GRADES, qualityNumbers, qualityText, substituteText, text } from "../text";
import { Announcer } from "./announcer";
import { ConnectionBanner, type Props } from "./app";
import { AlertIcon, HangUpIcon, MicIcon, MicOffIcon, SlidersIcon, VideoIcon, VideoOffIcon } from "./icons";
import { DirectQuestion, PrivacyLine } from "./callprivacy";
import { Avatar, Picture, Still, useFocusOnArrival } from "./parts";

export function CallScreen({ state, actions }: Props) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  const call = currentCall(state.calls);
  const peer = call?.peer ?? state.calls.placing?.peer ?? NOBODY;
  useShortcuts({ state, actions });
  const answered = call !== null && isAnswered(call);
  const showRemote = call !== null && showsPeer(call) && state.remotePictures.length > 0;
  const mirror = state.calls.want.cam ? state.selfVideo : null;
  return (
    <div class={showRemote ? "call call--video" : "call"} data-testid="screen-call" data-call-state={call?.state ?? "placing"} data-leg={state.leg}>
      <main class="stage">
        {showRemote ? (
          <>
            {state.remotePictures.map(({ path, stream, shown, drawn }) => (
              <Picture key={path} path={path} stream={stream} behind={!shown} onDrawn={drawn} label={text.call.peerVideo(peer.name)} className="stage__remote" />
            ))}
            {state.remoteStill && <Still canvas={state.remoteStill} label={text.call.peerVideo(peer.name)} className="stage__remote" />}
          </>
        ) : (
          <div class={answered ? "stage__face" : "stage__face stage__face--waiting"}>
            <Avatar person={peer} size="l" />
          </div>
        )}
        {mirror && (
          <Picture stream={mirror} label={text.call.selfView} className={answered ? "selfview" : "selfview selfview--full"} />
        )}
      </main>
      <header class="callbar">
        <div class="callbar__who">
          <h1 class="callbar__name" tabIndex={-1} ref={heading} aria-label={text.call.callWith(peer.name)} data-testid="call-peer">
            {peer.name}
          </h1>
          <p class="callbar__status">
            <Progress state={state} call={call} />
          </p>
        </div>
        {answered && <QualityBadge state={state} />}
      </header>
      <div class="callnotes">
        <ConnectionBanner state={state} actions={actions} />
        <Announcer state={state} call={call} />
        <Permission state={state} />
        <Substitutes state={state} />
        <PeerState call={call} />
        <Problems state={state} actions={actions} />
        <DirectQuestion state={state} actions={actions} call={call} />
      </div>
      <footer class="controls">
        <PrivacyLine state={state} actions={actions} call={call} peer={peer} />
        <Controls state={state} actions={actions} call={call} />
      </footer>
    </div>
  );
}

const NOBODY: Person = { handle: "", name: "" };

/** M and V, unless the person has switched them off or is in a field. */
function useShortcuts({ state, actions }: Props): void {
  const active = state.settings.shortcuts && state.dialog === null;
  useEffect(() => {
    if (!active) return undefined;
    const onKey = (event: KeyboardEvent): void => {
      const typing = event.target instanceof HTMLElement && event.target.closest("input, select, textarea");
      if (typing || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
      const key = event.key.toLowerCase();
      if (key === "m") actions.toggleMic();
      if (key === "v") actions.toggleCam();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [active, actions]);
}

/** How far the call has come; spoken when it changes, but not each second of the timer. */
function Progress({ state, call }: { state: ViewState; call: Call | null }) {
  const words = progressText(state, call);
  return (
    <>
      <span role="status" data-testid="call-progress">
        {words}
      </span>
      {words === "" && call && <Timer from={call.acceptedAt} aheadMs={state.serverAheadMs} />}
    </>
  );
}

function progressText(state: ViewState, call: Call | null): string {
  if (!call || call.state === "created") return call?.role === "callee" ? text.call.answering : text.call.calling;
  if (call.state === "ringing") return call.role === "callee" ? text.call.answering : text.call.ringing;
  if (state.leg === "interrupted" || state.leg === "restarting") return text.call.reconnecting;
  if (call.state === "accepted" || state.leg !== "connected") {
    return call.liveAt === null ? text.call.connecting : text.call.reconnecting;
  }
  return "";
}

function Timer({ from, aheadMs }: { from: number | null; aheadMs: number }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = window.setInterval(() => tick((count) => count + 1), 1_000);
    return () => window.clearInterval(timer);
  }, []);
  if (from === null) return null;
  return (
    <span role="timer" aria-label={text.call.duration} class="timer" data-testid="timer">
      {clock(Date.now() + aheadMs - from)}
    </span>
  );
}

function QualityBadge({ state }: { state: ViewState }) {
  const { quality } = state;
  return (
    <details class="quality" data-testid="quality" data-grade={quality.grade}>
      <summary class="quality__summary">
        <span class={`bars bars--${quality.grade}`} aria-hidden="true">
          <i />
          <i />
          <i />
        </span>
        <span class="quality__word">{GRADES[quality.grade]}</span>
      </summary>
      <div class="quality__more">
        <p>{qualityText(quality)}</p>
        <p class="quality__numbers">{qualityNumbers(quality)}</p>
      </div>
    </details>
  );
}

/** The browser's question may be easy to overlook. It shows after a moment: a granted device opens before that. */
function Permission({ state }: { state: ViewState }) {
  const { mic, cam } = state.calls.want;
  const asking = (mic && state.mic === "opening") || (cam && state.cam === "opening");
  return (
    <div role="status">
      {asking && (
        <span class="chip chip--late" data-testid="permission">
          {text.call.permission}
        </span>
      )}
    </div>
  );
}

/** A chosen device was unplugged, and the call goes on with another one. */
function Substitutes({ state }: { state: ViewState }) {
  return (
    <div role="status">
      {(["mic", "cam"] as const).map((kind) => {
        const label = state.substitutes[kind];
        return (
          label !== null && (
            <span class="chip" key={kind} data-testid={`substitute-${kind}`}>
              {kind === "mic" ? <MicIcon /> : <VideoIcon />}
              {substituteText(kind, label)}
            </span>
          )
        );
      })}
    </div>
  );
}

function PeerState({ call }: { call: Call | null }) {
  const answered = call !== null && isAnswered(call);
  return (
    <div class="peerstate" role="status">
      {answered && !call.peerConnected && call.liveAt !== null && (
        <span class="chip chip--warn" data-testid="peer-away">
          <span class="spinner" aria-hidden="true" />
          {text.call.peerAway(call.peer.name)}
        </span>
      )}
      {answered && !call.peerMedia.audio && (
        <span class="chip" data-testid="peer-muted">
          <MicOffIcon />
          {text.call.peerMuted(call.peer.name)}
        </span>
      )}
      {call !== null && isTooSlowForPeer(call) && (
        <span class="chip chip--warn" data-testid="too-slow-for-video">
          <VideoOffIcon />
          {text.call.tooSlowForVideo}
        </span>
      )}
      {answered && call.video && !call.peerMedia.video && (
        <span class="chip" data-testid="peer-camera-off">
          <VideoOffIcon />
          {text.call.peerCameraOff}
        </span>
      )}
    </div>
  );
}

function Problems({ state, actions }: Props) {
  const { mic, cam } = state.calls.want;
  const micProblem = mic ? deviceProblem("mic", state.mic) : null;
  const camProblem = cam ? deviceProblem("cam", state.cam) : null;
  return (
    <div class="problems" role="alert">
      {micProblem && (
        <Problem {...micProblem} action={text.home.tryAgain} onAction={() => actions.toggleMic()} testId="problem-mic" />
      )}
      {camProblem && (
        <Problem {...camProblem} action={text.home.tryAgain} onAction={() => actions.toggleCam()} testId="problem-cam" />
      )}
      {state.soundBlocked && (
        <Problem title={text.call.soundBlocked} hint="" action={text.call.playSound} onAction={() => actions.playSound()} testId="problem-sound" />
      )}
      {state.leg === "refused" && <Problem title={text.call.legRefused} hint={state.legFailure?.message ?? ""} testId="problem-leg" />}
    </div>
  );
}

interface ProblemProps {
  readonly title: string;
  readonly hint: string;
  readonly action?: string;
  readonly onAction?: () => void;
  readonly testId: string;
}

function Problem({ title, hint, action, onAction, testId }: ProblemProps) {
  return (
    <div class="problem" data-testid={testId}>
      <AlertIcon />
      <div class="problem__text">
        <strong>{title}</strong>
        {hint && <span>{hint}</span>}
      </div>
      {action && (
        <button class="button button--quiet" onClick={onAction}>
          {action}
        </button>
      )}
    </div>
  );
}

function Controls({ state, actions, call }: Props & { call: Call | null }) {
  const micOn = state.calls.want.mic && (state.mic === "on" || state.mic === "opening" || state.mic === "off");
  const camOn = state.calls.want.cam && (state.cam === "on" || state.cam === "opening");
  const waiting = call === null || isPending(call);
  return (
    <div class="controls__row" role="group" aria-label={text.call.callWith(call?.peer.name ?? "")}>
      <button class={micOn ? "control" : "control control--off"} aria-keyshortcuts="m" data-testid="mic" data-on={micOn} onClick={() => actions.toggleMic()}>
        <span class="control__disc">{micOn ? <MicIcon /> : <MicOffIcon />}</span>
        <span class="control__word">{micOn ? text.call.mute : text.call.unmute}</span>
      </button>
      <button class={camOn || !call?.video ? "control" : "control control--off"} aria-keyshortcuts="v" data-testid="cam" data-on={camOn} onClick={() => actions.toggleCam()}>
        <span class="control__disc">{camOn ? <VideoIcon /> : <VideoOffIcon />}</span>
        <span class="control__word">{camOn ? text.call.cameraOff : text.call.cameraOn}</span>
      </button>
      <button class="control" data-testid="call-devices" onClick={() => actions.openDevices()}>
        <span class="control__disc">
          <SlidersIcon />
        </span>
        <span class="control__word">{text.call.devices}</span>
      </button>
      <button class="control control--danger" data-testid="hangup" onClick={() => actions.leave(call?.id ?? null)}>
        <span class="control__disc">
          <HangUpIcon />
        </span>
        <span class="control__word">{waiting ? text.call.cancel : text.call.hangUp}</span>
      </button>
    </div>
  );
}
