// The page: takes the token out of the address, starts the client, draws its screens.

import { render } from "preact";
import { tokenFromFragment } from "./core/token";
import { App } from "./shell/app";
import { exposeHook } from "./shell/hook";
import { forgetSignIn, loadToken, saveToken } from "./shell/store";
import { Screens } from "./view/app";
import "./styles/index.css";

/** The token of this tab. One in the address is taken out of it at once, before anything else can see it. */
function takeToken(): string | null {
  const fresh = tokenFromFragment(location.hash);
  if (location.hash !== "") history.replaceState(null, "", location.pathname + location.search);
  if (fresh && fresh !== loadToken()) {
    forgetSignIn();
    saveToken(fresh);
  }
  return loadToken();
}

const root = document.getElementById("app");
if (!root) throw new Error("index.html has no #app");

const token = takeToken();
const app = new App((state) => render(<Screens state={state} actions={app} />, root));
exposeHook(app);
app.start(token);

// A second link opened in the same tab changes the fragment only.
window.addEventListener("hashchange", () => {
  const next = tokenFromFragment(location.hash);
  takeToken();
  if (next) location.reload();
});
