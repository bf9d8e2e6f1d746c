// Calls and privacy: what is chosen on one side, what follows for whom on the other.

import { useEffect } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { AUDIENCES, DIRECT_SETTINGS, drafted, isEdited, toggled, type PrivacySettings, type SettingsChange } from "../core/privacy";
import { audienceText, directText, previewText, previewedText, privacyText } from "../privacytext";
import { ConnectionBanner, type Props } from "./app";
import { BackIcon, LockIcon, PeopleIcon, PhoneIcon, ShieldIcon } from "./icons";
import { People } from "./people";
import { Requests } from "./requests";
import { useFocusOnArrival } from "./parts";

export function PrivacyPage({ state, actions }: Props) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  const settings = drafted(state.privacy);
  // What was not saved is not kept for a later visit.
  useEffect(() => () => actions.privacy.discard(), []);
  return (
    <main class="privacy" data-testid="screen-privacy">
      <header class="privacy__head">
        <button class="iconbutton" aria-label={privacyText.page.back} data-testid="privacy-back" onClick={() => actions.show("home")}>
          <BackIcon />
        </button>
        <h1 class="privacy__title" tabIndex={-1} ref={heading}>
          {privacyText.page.title}
        </h1>
      </header>
      <ConnectionBanner state={state} actions={actions} />
      {settings ? (
        <div class="privacy__columns">
          <form class="privacy__column" onSubmit={(event) => event.preventDefault()}>
            <Calling settings={settings} onChange={(change) => actions.privacy.edit(change)} />
            <WhoCanCall settings={settings} onChange={(change) => actions.privacy.edit(change)} />
            <Address settings={settings} onChange={(change) => actions.privacy.edit(change)} />
            <Encryption settings={settings} onChange={(change) => actions.privacy.edit(change)} />
          </form>
          <div class="privacy__column">
            <section class="setting">
              <h2 class="setting__title">{privacyText.requests.title}</h2>
              <Requests state={state} actions={actions} />
            </section>
            <People state={state} actions={actions} />
          </div>
        </div>
      ) : (
        <Unloaded state={state} actions={actions} />
      )}
      {settings && <SaveBar state={state} actions={actions} />}
    </main>
  );
}

interface PartProps {
  readonly settings: PrivacySettings;
  readonly onChange: (change: SettingsChange) => void;
}

function Calling({ settings, onChange }: PartProps) {
  return (
    <Setting icon={<PhoneIcon />} title={privacyText.calling.title}>
      <Switch id="calling" label={privacyText.calling.label} hint={privacyText.calling.hint} on={settings.calling} onChange={(calling) => onChange({ calling })} />
    </Setting>
  );
}

function WhoCanCall({ settings, onChange }: PartProps) {
  const { audience, strangers } = settings;
  const everyone = audience.includes("everyone");
  return (
    <Setting icon={<PeopleIcon />} title={privacyText.audience.title}>
      <fieldset class="choices">
        <legend class="setting__lead">{audience.length === 0 ? privacyText.audience.none : privacyText.audience.lead}</legend>
        {AUDIENCES.map((one) => (
          <Option
            key={one}
            type="checkbox"
            id={`audience-${one}`}
            {...audienceText(one)}
            checked={audience.includes(one)}
            onChange={(on) => onChange({ audience: toggled(audience, one, on) })}
          />
        ))}
      </fieldset>
      <fieldset class="choices" disabled={everyone}>
        <legend class="choices__title">{privacyText.audience.others}</legend>
        {everyone && <p class="setting__lead">{privacyText.audience.all}</p>}
        <Option type="radio" name="strangers" id="strangers-request" label={privacyText.audience.request} hint={privacyText.audience.requestHint} checked={strangers === "request"} onChange={() => onChange({ strangers: "request" })} />
        <Option type="radio" name="strangers" id="strangers-deny" label={privacyText.audience.deny} hint={privacyText.audience.denyHint} checked={strangers === "deny"} onChange={() => onChange({ strangers: "deny" })} />
      </fieldset>
    </Setting>
  );
}

function Address({ settings, onChange }: PartProps) {
  const { enhanced, direct } = settings;
  return (
    <Setting icon={<ShieldIcon />} title={privacyText.address.title}>
      <p class="setting__lead">{privacyText.address.lead}</p>
      <Switch id="enhanced" label={privacyText.address.enhanced} hint={privacyText.address.enhancedHint} on={enhanced} onChange={(on) => onChange({ enhanced: on })} />
      <fieldset class="choices" disabled={enhanced} aria-describedby="direct-why">
        <legend class="choices__title">{privacyText.address.direct}</legend>
        <p class="setting__lead" id="direct-why" data-testid="direct-why">
          {enhanced ? privacyText.address.locked : privacyText.address.directLead}
        </p>
        {DIRECT_SETTINGS.map((one) => (
          <Option key={one} type="radio" name="direct" id={`direct-${one}`} {...directText(one)} checked={direct === one} onChange={() => onChange({ direct: one })} />
        ))}
      </fieldset>
    </Setting>
  );
}

function Encryption({ settings, onChange }: PartProps) {
  return (
    <Setting icon={<LockIcon />} title={privacyText.e2ee.title}>
      <Switch id="e2ee" label={privacyText.e2ee.label} hint={privacyText.e2ee.hint} on={settings.requireE2ee} onChange={(requireE2ee) => onChange({ requireE2ee })} />
    </Setting>
  );
}

function Setting({ icon, title, children }: { icon: ComponentChildren; title: string; children: ComponentChildren }) {
  return (
    <section class="setting">
      <h2 class="setting__title">
        {icon}
        {title}
      </h2>
      {children}
    </section>
  );
}

interface SwitchProps {
  readonly id: string;
  readonly label: string;
  readonly hint: string;
  readonly on: boolean;
  readonly onChange: (on: boolean) => void;
}

function Switch({ id, label, hint, on, onChange }: SwitchProps) {
  return (
    <div class="option option--switch">
      <span class="option__text">
        <label for={`set-${id}`}>{label}</label>
        <span class="option__hint" id={`set-${id}-hint`}>
          {hint}
        </span>
      </span>
      <input class="switch" type="checkbox" role="switch" id={`set-${id}`} checked={on} aria-describedby={`set-${id}-hint`} data-testid={`set-${id}`} onChange={(event) => onChange(event.currentTarget.checked)} />
    </div>
  );
}

interface OptionProps {
  readonly type: "checkbox" | "radio";
  readonly id: string;
  readonly name?: string;
  readonly label: string;
  readonly hint: string;
  readonly checked: boolean;
  readonly onChange: (on: boolean) => void;
}

function Option({ type, id, name, label, hint, checked, onChange }: OptionProps) {
  const described = hint === "" ? undefined : `set-${id}-hint`;
  return (
    <div class="option">
      <input type={type} id={`set-${id}`} name={name} checked={checked} aria-describedby={described} data-testid={`set-${id}`} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span class="option__text">
        <label for={`set-${id}`}>{label}</label>
        {hint !== "" && (
          <span class="option__hint" id={described}>
            {hint}
          </span>
        )}
      </span>
    </div>
  );
}

/** What the changes would do, before they are made. It stays in sight wherever the page is scrolled to. */
function SaveBar({ state, actions }: Props) {
  const { privacy } = state;
  const edited = isEdited(privacy);
  return (
    <div class={edited || privacy.failure ? "savebar savebar--open" : "savebar"} data-testid="savebar">
      <div class="savebar__what" role="status">
        {edited && (
          <>
            <strong class="savebar__title">{privacyText.save.title}</strong>
            <Effects state={state} />
          </>
        )}
        {privacy.failure && (
          <p class="field-error" data-testid="privacy-failure">
            {privacyText.save.failed} {privacy.failure.message}
          </p>
        )}
      </div>
      {edited && (
        <div class="savebar__actions">
          <button class="button" data-testid="privacy-discard" onClick={() => actions.privacy.discard()}>
            {privacyText.save.discard}
          </button>
          <button class="button button--primary" data-testid="privacy-save" disabled={privacy.saving} onClick={() => actions.privacy.save()}>
            {privacy.saving ? privacyText.save.saving : privacyText.save.save}
          </button>
        </div>
      )}
    </div>
  );
}

/** How many people of a preview are listed with their reasons. */
const REASONS_MAX = 12;

function Effects({ state }: Pick<Props, "state">) {
  const { preview } = state.privacy;
  if (!preview) return <p>{privacyText.save.asking}</p>;
  return (
    <>
      {previewText(preview).map((sentence) => (
        <p key={sentence} data-testid="preview-says">
          {sentence}
        </p>
      ))}
      {preview.changes.length > 0 && (
        <details class="savebar__why">
          <summary>{privacyText.save.why}</summary>
          <ul>
            {preview.changes.slice(0, REASONS_MAX).map((one) => (
              <li key={one.person.handle}>
                <strong>{one.person.name}</strong> {previewedText(one)}
              </li>
            ))}
          </ul>
          {preview.changed > REASONS_MAX && <p>{privacyText.save.more(preview.changed - REASONS_MAX)}</p>}
        </details>
      )}
    </>
  );
}

function Unloaded({ state, actions }: Props) {
  if (!state.privacy.failure) {
    return (
      <p class="empty" role="status">
        <span class="spinner" aria-hidden="true" />
        <span>{privacyText.page.loading}</span>
      </p>
    );
  }
  return (
    <div class="empty" role="alert">
      <p class="empty__title">{privacyText.page.failed}</p>
      <button class="button" onClick={() => actions.reloadLists()}>
        {privacyText.page.tryAgain}
      </button>
    </div>
  );
}
