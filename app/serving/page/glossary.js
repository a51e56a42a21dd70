// The glossary box: its terms are stored at the server as long as the page is open.

import { Problem, ask, forget } from "./api.js";
import { byId } from "./dom.js";
import { text } from "./language.js";

// Terms as they were written, and a promise of the glossary's id; null without terms.
const NONE = { terms: "", id: Promise.resolve(null) };
let stored = NONE;
// Those that a document may still have been opened with.
const replaced = [];

/** What is written in the box. */
export const glossaryTerms = () => byId("terms").value.trim();

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

/** Does something with the id of a glossary of these terms, null for none; sends it again if the server has lost it. */
export async function withGlossary(about, terms, action) {
  const own = glossaryOf(about, terms);
  const id = await own.id;
  try {
    return await action(id);
  } catch (problem) {
    if (problem.status !== 404 || id === null) throw problem;
  }
  if (stored === own) forgetStored();
  return action(await glossaryOf(about, terms).id);
}

/** The glossary of these terms, which is sent unless it was the last one. */
function glossaryOf(about, terms) {
  if (terms === stored.terms) return stored;
  forgetStored();
  const own = terms ? { terms, id: sendTerms(about, terms) } : NONE;
  own.id.catch(() => {
    if (stored === own) stored = NONE;
  });
  stored = own;
  return own;
}

async function sendTerms(about, terms) {
  const body = { name: "page", source_lang: about.source, target_lang: about.target, entries_format: "tsv" };
  return (await ask("POST", "/v2/glossaries", { ...body, entries: read(terms).join("\n") })).glossary_id;
}

function forgetStored() {
  if (stored !== NONE) replaced.push(stored.id);
  stored = NONE;
}

/** Gives back the glossaries before the present one, when no document needs them any more. */
export function forgetReplaced() {
  for (const id of replaced.splice(0)) id.then((known) => forget(`/v2/glossaries/${known}`), () => {});
}

export function forgetGlossaries() {
  forgetStored();
  forgetReplaced();
}
