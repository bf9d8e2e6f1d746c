import type { Contact } from "./model";

/** What a handle may be made of, as the server has it. */
const HANDLE = /^[a-z0-9_.]{1,32}$/;

/** Contacts whose name or handle has the words of the query at the start of one of its own; online ones first. */
export function matchContacts(contacts: readonly Contact[], query: string): readonly Contact[] {
  const wanted = words(query.replace(/^\s*@/, ""));
  return contacts
    .filter(({ person }) => {
      const had = [...words(person.name), person.handle];
      return wanted.every((word) => had.some((one) => one.startsWith(word)));
    })
    .sort((a, b) => Number(b.online) - Number(a.online) || a.person.name.localeCompare(b.person.name));
}

/** The handle that somebody typed, with or without @ and capitals; null if it cannot be one. */
export function handleIn(query: string): string | null {
  const handle = query.trim().replace(/^@/, "").toLowerCase();
  return HANDLE.test(handle) ? handle : null;
}

/** Small letters without accents, so that "muller" finds "Müller". */
function words(text: string): string[] {
  const plain = text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.split(/\s+/).filter((word) => word !== "");
}
