// The box in which the right translation of a segment is written. It stays until the server has the text.

import { make } from "./dom.js";
import { label, say } from "./language.js";
import { tell } from "./status.js";

/** A text as the server keeps it. */
const oneLine = (text) => text.replace(/[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+/g, " ").trim();

export class Editor {
  constructor(row) {
    this.row = row;
    this.started = row.segment.translation;
    // The text that the server was asked to keep.
    this.sent = null;
    this.box = make("textarea", { value: this.started, lang: row.target.lang, rows: 3 });
    label(this.box, "rightTranslation", { number: row.number });
    this.buttons = [this.button("save", () => this.save()), this.button("cancel", () => this.leave())];
    this.buttons[0].className = "primary";
    const buttons = make("div", { className: "buttons" }, ...this.buttons);
    this.element = make("div", { className: "editor" }, this.box, buttons);
    if (!row.segment.corrected) this.note();
    this.box.addEventListener("keydown", (event) => this.onKey(event));
    row.target.hidden = true;
    row.element.classList.add("editing");
    row.target.after(this.element);
    this.box.focus();
    this.box.select();
  }

  /** Says how a translation is approved that is right already. */
  note() {
    const note = make("p", { className: "quiet", id: `approve-${this.row.number}` });
    say(note, "approve");
    this.box.after(note);
    this.box.setAttribute("aria-describedby", note.id);
  }

  button(name, action) {
    const button = make("button", { type: "button" });
    say(button, name);
    button.addEventListener("click", action);
    return button;
  }

  onKey(event) {
    if (event.key === "Escape") this.leave();
    else if (event.key === "Enter" && !event.shiftKey) this.save();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The text, on one line. */
  get written() {
    return oneLine(this.box.value);
  }

  /** Whether it is another than at the start: the segment may have changed since. */
  get changed() {
    return this.written !== "" && this.written !== oneLine(this.started);
  }

  /** Whether it is the translation that the segment has now, and that no person has approved yet. */
  get approves() {
    const { translation, corrected } = this.row.segment;
    return !corrected && this.written === oneLine(translation);
  }

  get waiting() {
    return this.box.readOnly;
  }

  set waiting(on) {
    // What is disabled would lose the focus.
    this.box.readOnly = on;
    for (const button of this.buttons) button.ariaDisabled = String(on);
  }

  async save() {
    if (this.waiting) return;
    if (!this.written) return tell("emptyCorrection");
    if (!this.changed && !this.approves) return this.close();
    this.sent = this.written;
    this.waiting = true;
    let kept = false;
    try {
      kept = await this.row.actions.correct(this.row.number, this.sent);
    } finally {
      this.waiting = false;
    }
    if (kept) this.close();
  }

  /** Ends if the server has the text after all. */
  check({ translation, corrected }) {
    if (!this.waiting && corrected && translation === this.sent && this.written === this.sent) this.close();
  }

  leave() {
    if (!this.waiting) this.close();
  }

  close() {
    const focused = this.element.contains(document.activeElement);
    this.element.remove();
    this.row.editor = null;
    this.row.target.hidden = false;
    this.row.element.classList.remove("editing");
    if (focused) this.row.toggle.focus();
  }
}
