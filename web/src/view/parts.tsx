// Small parts that several screens share.

import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { RefObject } from "preact";
import type { Person } from "../core/model";

/** How many tints there are for avatars; see `.tint-0` and following. */
const TINTS = 6;

export function Avatar({ person, size, online }: { person: Person; size: "s" | "m" | "l"; online?: boolean }) {
  return (
    <span class={`avatar avatar--${size} tint-${tintOf(person.handle)}`} aria-hidden="true">
      {initials(person.name)}
      {online !== undefined && <span class={online ? "presence presence--on" : "presence"} />}
    </span>
  );
}

function initials(name: string): string {
  const words = name.split(/[\s._-]+/).filter((word) => word !== "");
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  return letters.map((word) => [...(word ?? "")][0]?.toUpperCase() ?? "").join("");
}

function tintOf(handle: string): number {
  let sum = 0;
  for (const char of handle) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 9973;
  return sum % TINTS;
}

interface PictureProps {
  readonly stream: MediaStream;
  readonly label: string;
  readonly className: string;
  /** Ready behind another one: it plays, and nobody sees it. */
  readonly behind?: boolean;
  readonly path?: string;
  readonly onDrawn?: (element: HTMLVideoElement) => void;
}

/** A muted picture: sound is played elsewhere. */
export function Picture({ stream, label, className, behind = false, path, onDrawn }: PictureProps) {
  const ref = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const video = ref.current;
    if (!video || video.srcObject === stream) return;
    video.srcObject = stream;
    void video.play().catch(() => undefined);
  }, [stream]);
  useEffect(() => {
    const video = ref.current;
    if (!video || !onDrawn || !("requestVideoFrameCallback" in video)) return undefined;
    let next = 0;
    const drawn = (): void => {
      onDrawn(video);
      next = video.requestVideoFrameCallback(drawn);
    };
    next = video.requestVideoFrameCallback(drawn);
    return () => video.cancelVideoFrameCallback(next);
  }, [onDrawn]);
  const classes = behind ? `${className} ${className}--behind` : className;
  return <video ref={ref} class={classes} aria-label={label} aria-hidden={behind} data-path={path} data-shown={!behind} autoplay muted playsInline disablePictureInPicture />;
}

/** A picture that stands still. */
export function Still({ canvas, label, className }: { canvas: HTMLCanvasElement; label: string; className: string }) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    canvas.className = className;
    canvas.dataset["path"] = "still";
    canvas.dataset["shown"] = "true";
    ref.current?.replaceChildren(canvas);
  }, [canvas, className]);
  return <div role="img" aria-label={label} ref={ref} />;
}

/** Moves the focus here when the part appears, so that keyboard and screen reader are where the eyes are. */
export function useFocusOnArrival<T extends HTMLElement>(): RefObject<T> {
  const ref = useRef<T>(null);
  useEffect(() => ref.current?.focus({ preventScroll: true }), []);
  return ref;
}

/** A native modal dialog: the browser keeps the focus inside and gives it back afterwards. */
export function useModal(): RefObject<HTMLDialogElement> {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return ref;
}
