// Every screen from a fixture: `npm run dev`, then /dev/gallery.html#NAME; without a name, the list. Not in the product.

import { render } from "preact";
import type { Actions } from "../src/core/view";
import { Screens } from "../src/view/app";
import { FIXTURES } from "./fixtures";
import "../src/styles/index.css";

const root = document.getElementById("app")!;

const actions: Actions = {
  privacy: {
    decide: noop,
    edit: noop,
    discard: noop,
    save: noop,
    refresh: noop,
    ask: noop,
    sendRequest: noop,
    answerRequest: noop,
    grant: noop,
    revoke: noop,
    block: noop,
    unblock: noop,
  },
  show: noop,
  wishDirect: noop,
  signIn: () => false,
  signOut: noop,
  call: noop,
  accept: noop,
  leave: noop,
  toggleMic: noop,
  toggleCam: noop,
  dismissEnded: noop,
  dismissNotice: noop,
  openDevices: noop,
  closeDevices: noop,
  testCam: noop,
  change: noop,
  playTestSound: noop,
  playSound: noop,
  allowNotifications: noop,
  reconnect: noop,
  reloadLists: noop,
  watchLevel: (onLevel) => {
    const timer = setTimeout(() => onLevel(0.6), 50);
    return () => clearTimeout(timer);
  },
};

function noop(): void {
  // Nothing happens in a picture.
}

function draw(): void {
  const make = FIXTURES[location.hash.slice(1)];
  render(make ? <Screens state={make()} actions={actions} /> : <List />, root);
  document.body.dataset["ready"] = "yes";
}

function List() {
  return (
    <ul>
      {Object.keys(FIXTURES).map((name) => (
        <li key={name}>
          <a href={`#${name}`}>{name}</a>
        </li>
      ))}
    </ul>
  );
}

window.addEventListener("hashchange", () => location.reload());
draw();
