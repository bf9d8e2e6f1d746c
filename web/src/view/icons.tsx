// Line icons on a 24-unit grid, drawn for this client. They are decoration: the control that holds one has a label.

import type { ComponentChildren } from "preact";

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

const HANDSET =
  "M6.2 3.6h2.6c.5 0 .9.3 1 .8l.9 3.2c.1.4 0 .8-.3 1.1L8.7 10.4a13 13 0 0 0 4.9 4.9l1.7-1.7c.3-.3.7-.4 1.1-.3l3.2.9c.5.1.8.5.8 1v2.6c0 1.4-1.2 2.6-2.6 2.5C10.5 19.8 4.2 13.5 3.7 6.2c-.1-1.4 1.1-2.6 2.5-2.6Z";

export const PhoneIcon = () => (
  <Icon>
    <path d={HANDSET} />
  </Icon>
);
export const HangUpIcon = () => (
  <Icon>
    <path d="M12 8.5c3.9 0 7.3 1.3 9.3 3.5.5.5.5 1.3.1 1.9l-1.3 1.7c-.4.5-1.1.7-1.7.4l-2.5-1.2c-.5-.2-.8-.7-.8-1.2v-1.5a10 10 0 0 0-6.2 0v1.5c0 .5-.3 1-.8 1.2l-2.5 1.2c-.6.3-1.3.1-1.7-.4l-1.3-1.7c-.4-.6-.4-1.4.1-1.9C4.7 9.8 8.1 8.5 12 8.5Z" />
  </Icon>
);
export const VideoIcon = () => (
  <Icon>
    <rect x="2.8" y="6" width="12.4" height="12" rx="2.6" />
    <path d="m15.2 10.7 4.3-2.7c.7-.4 1.6 0 1.6.8v6.4c0 .8-.9 1.2-1.6.8l-4.3-2.7" />
  </Icon>
);
export const VideoOffIcon = () => (
  <Icon>
    <path d="M9.5 6h3.1c1.4 0 2.6 1.2 2.6 2.6v3.1l4.3-3.7c.7-.4 1.6 0 1.6.8v6.4c0 .6-.5 1-1 .9M15.2 15.4c0 1.4-1.2 2.6-2.6 2.6H5.4a2.6 2.6 0 0 1-2.6-2.6V8.6c0-1 .6-1.9 1.5-2.3M3 3l18 18" />
  </Icon>
);
export const MicIcon = () => (
  <Icon>
    <rect x="9" y="2.8" width="6" height="11.4" rx="3" />
    <path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3.2" />
  </Icon>
);
export const MicOffIcon = () => (
  <Icon>
    <path d="M9 9v2.2a3 3 0 0 0 4.6 2.5M15 10.5V5.8a3 3 0 0 0-5.8-1M5.5 11.5a6.5 6.5 0 0 0 10.5 5.1M18.5 11.5c0 .8-.1 1.5-.4 2.2M12 18v3.2M3 3l18 18" />
  </Icon>
);
export const SlidersIcon = () => (
  <Icon>
    <path d="M4 7h8M18 7h2M4 17h2M12 17h8" />
    <circle cx="15" cy="7" r="2.6" />
    <circle cx="9" cy="17" r="2.6" />
  </Icon>
);
export const SearchIcon = () => (
  <Icon>
    <circle cx="11" cy="11" r="6.5" />
    <path d="m16 16 4.5 4.5" />
  </Icon>
);
export const CloseIcon = () => (
  <Icon>
    <path d="m6 6 12 12M18 6 6 18" />
  </Icon>
);
export const BackIcon = () => (
  <Icon>
    <path d="m14.5 5-7 7 7 7" />
  </Icon>
);
export const ShieldIcon = () => (
  <Icon>
    <path d="M12 3c2.3 1.6 4.7 2.4 7.2 2.5.3 6.7-1.9 11.8-7.2 15-5.3-3.2-7.5-8.3-7.2-15C7.3 5.4 9.7 4.6 12 3Z" />
    <path d="m8.8 11.8 2.3 2.3 4.2-4.5" />
  </Icon>
);
export const PeopleIcon = () => (
  <Icon>
    <circle cx="9" cy="8.2" r="3.6" />
    <path d="M2.8 19.5c.4-3.6 2.9-5.6 6.2-5.6s5.8 2 6.2 5.6M15.6 4.9a3.5 3.5 0 0 1 0 6.6M17.6 14.3c2 .7 3.3 2.5 3.6 5.2" />
  </Icon>
);
export const LockIcon = () => (
  <Icon>
    <rect x="5" y="10.5" width="14" height="10" rx="2.6" />
    <path d="M8 10.5V8a4 4 0 0 1 8 0v2.5M12 14.6v2" />
  </Icon>
);
/** Two ends with nothing in between. */
export const DirectIcon = () => (
  <Icon>
    <circle cx="5" cy="12" r="2.6" />
    <circle cx="19" cy="12" r="2.6" />
    <path d="M7.6 12h8.8" />
  </Icon>
);
export const OutgoingIcon = () => (
  <Icon>
    <path d="M7 17 17 7M9 7h8v8" />
  </Icon>
);
export const IncomingIcon = () => (
  <Icon>
    <path d="M17 7 7 17M7 9v8h8" />
  </Icon>
);
export const SignOutIcon = () => (
  <Icon>
    <path d="M10 4H6.5A2.5 2.5 0 0 0 4 6.5v11A2.5 2.5 0 0 0 6.5 20H10M15.5 8l4 4-4 4M19.5 12H10" />
  </Icon>
);
export const AlertIcon = () => (
  <Icon>
    <circle cx="12" cy="12" r="8.8" />
    <path d="M12 7.5v5.5M12 16.3v.2" />
  </Icon>
);

/** Two arcs that face each other, with one path between them. */
export const Mark = () => (
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect class="mark__tile" width="32" height="32" rx="9" />
    <path class="mark__arc" d="M12.5 8.5a7.5 7.5 0 1 0 0 15M19.5 8.5a7.5 7.5 0 1 1 0 15" />
    <circle class="mark__dot" cx="16" cy="16" r="2.3" />
  </svg>
);
