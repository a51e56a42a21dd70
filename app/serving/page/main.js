// The page: translates a text as a document, shows it segment by segment, and carries corrections out.

import { ask } from "./api.js";
import { Document } from "./document.js";
import { byId, save } from "./dom.js";
import { takeDrops } from "./drops.js";
import { filesAtRisk, forgetFiles, takeFiles } from "./files.js";
import { forgetGlossaries, forgetReplaced, glossaryTerms, withGlossary } from "./glossary.js";
import { say, text } from "./language.js";
import { drawStrip } from "./memory.js";
import { Row, moveByKeys } from "./segments.js";
import { setUp, showHelp } from "./settings.js";
import { attempt, tell } from "./status.js";
import { sure } from "./sure.js";

// The strip costs a call of the model for each window, so that it is drawn unasked only for short texts.
const SHORT = 40;
let about = null;
let current = null;
let rows = [];
let running = null;
let changing = false;
// Changes of the document are made one after another.
let lastChange = Promise.resolve();

async function learnAbout() {
  about ??= await ask("GET", "/api");
  showDirection();
  byId("terms").disabled = !about.glossaries;
  if (!about.glossaries) say(byId("glossary").querySelector("label"), "glossaryNone");
  return about;
}

function showDirection() {
  if (about) say(byId("direction"), "direction", { source: text(about.source), target: text(about.target) });
}

async function translate() {
  if (running || changing) return;
  const written = byId("text").value;
  if (!written.trim()) return tell("empty");
  if (correctionsAtRisk() && !(await sure("sureTranslate"))) return;
  running = new AbortController();
  enable();
  for (const id of ["status", "problem"]) byId(id).hidden = true;
  showProgress(null);
  try {
    await attempt(() => fill(written, running.signal));
  } finally {
    running = null;
    enable();
    if (byId("progress").contains(document.activeElement)) byId("translate").focus();
    byId("progress").hidden = true;
  }
}

/** Whether there are corrections that are lost with the document, or with the box that they were typed into. */
const correctionsAtRisk = () => current?.corrected || rows.some((row) => row.unsaved);

/** Switches the buttons on or off that have to wait for a translation; a disabled button would lose the focus. */
function enable() {
  const on = !running && !changing;
  for (const id of ["translate", "compare", "copy", "download"]) byId(id).ariaDisabled = String(!on);
  byId("undo").ariaDisabled = String(!on || !current?.undoable);
}

async function fill(written, signal) {
  await learnAbout();
  const terms = glossaryTerms();
  await withGlossary(about, terms, async (id) => begin(await Document.open(about, terms, id), written, signal));
}

/** Translates a text as a document of its own; the one before stays until the server has taken the text. */
async function begin(own, written, signal) {
  try {
    await own.fill(written, signal, (number) => {
      if (number) rows[number - 1].show();
      else replaceBy(own);
      showProgress(own);
    });
    rows.forEach((row) => row.show());
    tell("translated", { count: own.done });
  } catch (problem) {
    const all = own.segments.length;
    if (own !== current) own.close();
    else await cut(own);
    if (problem.name !== "AbortError") throw problem;
    tell("cancelled", { done: own.done, all });
  } finally {
    if (own === current) finish();
  }
}

/** Leaves what was translated of a document. */
async function cut(own) {
  own.cut();
  showRows();
  await own.check();
  showSegments();
  if (own.stale) recover(own);
}

function replaceBy(own) {
  current?.close();
  forgetReplaced();
  current = own;
  setComparing(false);
  byId("memory").hidden = true;
  showRows();
}

/** What waits until nothing is being translated. */
function finish() {
  byId("memory").hidden = !current.segments.length;
  byId("memory").open = current.segments.length <= SHORT;
  showStrip();
}

function showRows() {
  rows = [];
  showSegments();
  byId("attention").textContent = "";
}

/** Shows the segments as they are now; rows that are there keep what is being written in them. */
function showSegments() {
  const before = rows.length;
  rows = current.segments.map((_, place) => rows[place] ?? new Row(place + 1, current, about, { correct }));
  if (!before || rows.length !== before) byId("segments").replaceChildren(...rows.map(({ element }) => element));
  rows.slice(0, before).forEach((row) => row.show());
  byId("result").hidden = !rows.length;
}

function showProgress(own) {
  const [bar, words] = [byId("bar"), byId("progress-text")];
  const all = own?.segments.length ?? 0;
  byId("progress").hidden = false;
  if (all) {
    bar.max = all;
    bar.value = own.done;
    say(words, "progress", { done: own.done, all });
  } else {
    bar.removeAttribute("value");
    say(words, "starting");
  }
}

function correct(number, right) {
  return change((own) => own.correct(number, right), (numbers) => {
    if (numbers.length) tell("changes", { count: numbers.length, numbers: numbers.join(", ") });
    else tell("noChanges");
  });
}

function undo() {
  if (byId("undo").ariaDisabled === "false") change((own) => own.undo(), () => tell("undone"));
}

/** Carries a change out, after those before it; tells whether the server has it. */
function change(action, after) {
  const own = current;
  const next = () => (own === current ? carryOut(own, action, after) : false);
  lastChange = lastChange.then(next, next);
  return lastChange;
}

async function carryOut(own, action, after) {
  setChanging(true);
  try {
    const numbers = await attempt(() => action(own));
    if (own !== current) return false;
    if (!numbers) {
      recover(own);
      return false;
    }
    showSegments();
    if (own.restored) tell("restored");
    else after(numbers);
  } finally {
    setChanging(false);
  }
  showFigures();
  return true;
}

function setChanging(on) {
  changing = on;
  byId("segments").ariaBusy = String(on);
  enable();
}

/** Shows what the server has made of a change that failed, once it says so. */
async function recover(own) {
  await attempt(() => own.settle(() => own === current));
  if (own !== current) return;
  showSegments();
  enable();
  byId("memory").hidden = !rows.length;
  if (!own.stale) showFigures();
}

/** What is asked for after each change. */
async function showFigures() {
  if (comparing()) await compare();
  showStrip();
}

const comparing = () => byId("compare").getAttribute("aria-checked") === "true";
const setComparing = (on) => byId("compare").setAttribute("aria-checked", String(on));

async function compare() {
  const found = comparing() ? await attempt(() => current.compare()) : undefined;
  if (!comparing()) current.segments.forEach((segment) => delete segment.alone);
  rows.forEach((row) => row.showNotes());
  return found;
}

async function toggleCompare() {
  if (!current || running) return;
  setComparing(!comparing());
  const found = await compare();
  if (found) tell("differs", found);
}

async function showStrip() {
  const own = current;
  if (!byId("memory").open || byId("memory").hidden) return;
  const records = await attempt(() => own.memory());
  if (records !== undefined && own === current) drawStrip(records);
}

function download() {
  if (current && !running) save(current.joined(), `translation.${about.target}.txt`);
}

async function copy() {
  if (!current || running) return;
  await navigator.clipboard.writeText(current.joined());
  tell("copied");
}

function onKey(event) {
  // Keys belong to the dialog that is open; Escape closes it.
  if (document.querySelector("dialog[open]")) return;
  const writing = event.target.matches("textarea, input, select");
  const control = event.ctrlKey || event.metaKey;
  if (control && event.key === "Enter") translate();
  else if (event.key === "Escape" && running) running.abort();
  else if (control && event.key === "s" && current) download();
  else if (control && event.key === "z" && !writing) undo();
  else if (event.key === "?" && !writing) showHelp();
  else if (event.key === "m" && !control && byId("result").contains(event.target) && !writing) toggleCompare();
  else return;
  event.preventDefault();
}

async function takeAll(files) {
  await attempt(async () => takeFiles(files, await learnAbout(), tell));
}

setUp(() => {
  showDirection();
  rows.forEach((row) => row.show());
  if (current && !running) showStrip();
});
byId("input").addEventListener("submit", (event) => {
  event.preventDefault();
  translate();
});
byId("cancel").addEventListener("click", () => running?.abort());
byId("undo").addEventListener("click", undo);
byId("compare").addEventListener("click", toggleCompare);
byId("download").addEventListener("click", download);
byId("copy").addEventListener("click", copy);
byId("memory").addEventListener("toggle", showStrip);
document.addEventListener("keydown", onKey);
window.addEventListener("beforeunload", (event) => {
  if (correctionsAtRisk() || filesAtRisk()) event.preventDefault();
});
window.addEventListener("pagehide", (event) => {
  // A page that the browser keeps comes back with "Back", and needs its document.
  if (event.persisted) return;
  current?.close();
  forgetFiles();
  forgetGlossaries();
});
moveByKeys(() => rows);
takeDrops(takeAll);
attempt(learnAbout);
