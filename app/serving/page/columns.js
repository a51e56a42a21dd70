// The columns of a table that are to be translated: a person names them.

import { make } from "./dom.js";
import { label, say } from "./language.js";

const TABLE = /\.(csv|tsv)$/i;
// How much of a table is read for its first row, in bytes, and how much of that is shown, in letters.
const [HEAD, SHOWN] = [4_096, 300];
let count = 0;

export const isTable = (file) => TABLE.test(file.name);

/** A form for the columns of a table. */
export class Columns {
  constructor(file) {
    this.file = file;
    this.box = make("input", { type: "text", required: true, autocomplete: "off" });
    label(this.box, "columnsOf", { name: file.name });
    const heading = make("span", {});
    say(heading, "columns");
    const note = make("p", { className: "quiet", id: `columns-note-${++count}` });
    say(note, "columnsNote");
    this.box.setAttribute("aria-describedby", note.id);
    this.first = make("code", { className: "quiet" });
    const button = make("button", { type: "submit" });
    say(button, "translate");
    label(button, "fileTranslate", { name: file.name });
    const line = make("div", { className: "buttons" }, make("label", {}, heading, " ", this.box), button);
    this.element = make("form", { className: "columns", hidden: true }, line, note, this.first);
  }

  /** Shows the form until a person has named columns; these. */
  ask() {
    this.element.hidden = false;
    this.showFirst();
    return new Promise((resolve) => {
      this.element.onsubmit = (event) => {
        event.preventDefault();
        resolve(this.box.value);
      };
    });
  }

  /** Shows the first row of the table, or what can be read of it. */
  async showFirst() {
    const bytes = await this.file.slice(0, HEAD).arrayBuffer().catch(() => new ArrayBuffer(0));
    const [row] = new TextDecoder().decode(bytes).split(/[\r\n]/, 1);
    this.first.textContent = row.length > SHOWN ? `${row.slice(0, SHOWN)} …` : row;
  }
}
