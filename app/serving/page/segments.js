// The list of segments: source and translation side by side, corrected in place, with the keyboard as well as without.

import { Details } from "./details.js";
import { byId, make } from "./dom.js";
import { Editor } from "./editor.js";
import { label, number as written, say, text } from "./language.js";
import { newWords, showWords } from "./words.js";

// How many dots a mean log-probability gets: each token at least 70 or 40 in 100 likely.
const LIKELY = Math.log(0.7);
const DOUBTFUL = Math.log(0.4);

/** One segment on the page; `actions` has `correct(number, text)`, which tells whether the server has it. */
export class Row {
  constructor(number, document, about, actions) {
    Object.assign(this, { number, document, actions });
    this.toggle = make("button", { type: "button", className: "number", ariaExpanded: "false" }, String(number));
    label(this.toggle, "details", { number });
    this.source = make("p", { className: "source", lang: about.source });
    this.target = make("p", { className: "translation", lang: about.target });
    this.notes = make("div", { className: "notes" });
    this.dots = make("span", {});
    this.panel = make("div", { className: "details", id: `details-${number}`, hidden: true });
    this.toggle.setAttribute("aria-controls", this.panel.id);
    this.button = make("button", { type: "button", className: "correct" });
    say(this.button, "correct");
    label(this.button, "correctOf", { number });
    this.button.hidden = !document.id;
    const right = make("div", { className: "target" }, this.target, this.notes);
    const side = make("div", { className: "side" }, this.dots, this.button);
    this.element = make("li", { className: "segment" }, this.toggle, this.source, right, side, this.panel);
    this.details = new Details(this);
    this.toggle.addEventListener("click", () => this.open(this.panel.hidden));
    this.button.addEventListener("click", () => this.edit());
    this.target.addEventListener("dblclick", () => this.edit());
    this.show();
  }

  get segment() {
    return this.document.segments[this.number - 1];
  }

  /** Shows the segment as it is now. */
  show() {
    const { source, translation, before, corrected, score } = this.segment;
    showWords(this.source, source);
    this.element.classList.toggle("waiting", translation === null);
    this.element.classList.toggle("new", before !== undefined);
    showWords(this.target, translation ?? "…", before === undefined ? new Set() : newWords(before, translation));
    this.button.disabled = !this.document.ready;
    this.dots.replaceChildren(...(Number.isFinite(score) ? [hint(score)] : []));
    this.showNotes();
    if (!this.panel.hidden) this.details.show();
    this.editor?.check(this.segment);
  }

  /** Whether something was typed that the server does not have. */
  get unsaved() {
    return Boolean(this.editor?.changed);
  }

  /** Shows, below the translation, whether it was corrected or changed, and what it is without memory. */
  showNotes() {
    const { translation, corrected, before, alone } = this.segment;
    this.notes.replaceChildren();
    if (before !== undefined) this.note(tag("changed"), head("before"), make("del", {}, before));
    if (corrected) this.note(tag("corrected"));
    if (alone === translation) this.note(head("same"));
    else if (alone !== undefined) {
      const words = make("span", { lang: this.target.lang, className: "alone" });
      showWords(words, alone, newWords(translation, alone));
      this.note(head("alone"), words);
    }
  }

  note(...content) {
    this.notes.append(make("p", {}, ...content.flatMap((part) => [part, " "])));
  }

  open(open) {
    this.panel.hidden = !open;
    this.toggle.setAttribute("aria-expanded", String(open));
    if (open) this.details.show();
  }

  /** Lets a person write the right translation. */
  edit() {
    if (this.document.ready && !this.editor) this.editor = new Editor(this);
  }
}

const head = (name) => said(name, "quiet");
const tag = (name) => said(name, `tag ${name}`);

function said(name, className) {
  const found = make("span", { className });
  say(found, name);
  return found;
}

/** Dots for a mean log-probability. */
function hint(score) {
  const dots = score >= LIKELY ? 3 : score >= DOUBTFUL ? 2 : 1;
  const values = { score: written(score) };
  const found = make("span", { className: "hint", role: "img", title: text("hint", values) }, "●".repeat(dots));
  found.append(make("span", { className: "rest" }, "●".repeat(3 - dots)));
  label(found, "hint", values);
  return found;
}

/** Moves between segments and words by the arrow keys; `e` or F2 corrects the segment that has the focus. */
export function moveByKeys(rows) {
  byId("segments").addEventListener("keydown", (event) => {
    const row = rows().find(({ element }) => element.contains(event.target));
    if (!row || event.target.matches("textarea, input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const words = [...row.target.querySelectorAll(".word")];
    const place = words.indexOf(event.target);
    const step = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "ArrowUp" || event.key === "ArrowDown") rows()[row.number - 1 + step]?.toggle.focus();
    else if (step) (words[place + step] ?? row.toggle).focus();
    else if (event.key === "Home") rows()[0].toggle.focus();
    else if (event.key === "End") rows().at(-1).toggle.focus();
    else if (event.key === "e" || event.key === "F2") row.edit();
    else return;
    event.preventDefault();
  });
}
