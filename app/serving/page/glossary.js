// The glossary box: its terms are stored at the server as long as the page is open.

import { Problem, ask, forget } from "./api.js";
import { byId } from "./dom.js";
import { text } from "./language.js";

const NONE = { terms: "", id: null };
let stored = NONE;
// Those that a document may still have been opened with.
const replaced = [];

/** Terms and their translations: a line each, with "=" or a tab between. */
function read(written) {
  const lines = written.split("\n").map((line, place) => [line.trim(), place + 1]);
  return lines
    .filter(([line]) => line)
    .map(([line, place]) => {
      const pair = line.split(/\s*(?:=|\t)\s*/);
      if (pair.length !== 2 || !pair.every(Boolean)) throw new Problem(400, text("glossaryLine", { line: place }));
      return pair.join("\t");
    });
}

/** The id of the glossary in the box, null if it is empty. */
export async function glossaryId(about) {
  const terms = byId("terms").value.trim();
  if (terms === stored.terms) return stored.id;
  const entries = read(terms);
  let id = null;
  if (entries.length) {
    const body = { name: "page", source_lang: about.source, target_lang: about.target, entries_format: "tsv" };
    ({ glossary_id: id } = await ask("POST", "/v2/glossaries", { ...body, entries: entries.join("\n") }));
  }
  if (stored.id) replaced.push(stored.id);
  stored = { terms, id };
  return id;
}

/** After the server lost the glossary: it will be sent again. Tells whether there was one. */
export function loseGlossary() {
  const lost = stored.id !== null;
  stored = NONE;
  return lost;
}

/** Gives back the glossaries before the present one, when no document needs them any more. */
export function forgetReplaced() {
  for (const id of replaced.splice(0)) forget(`/v2/glossaries/${id}`);
}

export function forgetGlossaries() {
  if (stored.id) replaced.push(stored.id);
  stored = NONE;
  forgetReplaced();
}
