// A file that the server translates: sent, watched, cancelled, and fetched as soon as it is done.

import { Problem, ask, forget, insist, send, sleep } from "./api.js";
import { Columns, isTable } from "./columns.js";
import { byId, make, save } from "./dom.js";
import { glossaryTerms, withGlossary } from "./glossary.js";
import { label, say } from "./language.js";

// How often the server is asked how far it is, in milliseconds.
const EVERY = 700;

export class Upload {
  constructor(file, about) {
    Object.assign(this, { file, about });
    this.id = null;
    this.stopped = false;
    // Whether something is lost with the page: the work of the server, or a translation that was not saved.
    this.atRisk = false;
    this.translation = null;
    this.columns = isTable(file) ? new Columns(file) : null;
    this.bar = make("progress", { max: 1 });
    label(this.bar, "fileBar", { name: file.name });
    this.state = make("span", { className: "quiet", role: "status" });
    this.cancel = this.button("cancel", "fileCancel", () => this.stop());
    this.fetch = this.button("download", "fileDownload", () => this.download());
    this.fetch.hidden = true;
    const name = make("span", { className: "name" }, file.name);
    const form = this.columns ? [this.columns.element] : [];
    this.element = make("li", {}, name, this.bar, this.state, this.cancel, this.fetch, ...form);
    byId("files").append(this.element);
    byId("files-panel").hidden = false;
  }

  button(name, spoken, action) {
    const button = make("button", { type: "button" });
    say(button, name);
    label(button, spoken, { name: this.file.name });
    button.addEventListener("click", action);
    return button;
  }

  get path() {
    return `/api/files/${this.id}`;
  }

  /** Translates the file; columns that the table does not have are asked for again. */
  async run() {
    for (let again = true; again; ) {
      again = false;
      try {
        const columns = this.columns ? await this.askColumns() : "";
        await this.send(columns);
        await this.watch();
        await this.keep();
      } catch (problem) {
        if (this.stopped) return;
        again = this.columns !== null && problem.status === 400;
        this.fail(problem, again);
      }
    }
  }

  async askColumns() {
    this.bar.hidden = true;
    if (!this.state.textContent) say(this.state, "columnsWanted");
    const columns = await this.columns.ask();
    // The form goes, and the focus with it.
    this.cancel.focus();
    this.columns.element.hidden = true;
    this.bar.hidden = false;
    return columns;
  }

  /** Sends the file as soon as the server has room for it. */
  async send(columns) {
    this.atRisk = true;
    this.state.classList.remove("bad");
    say(this.state, "fileWaiting");
    const sent = await withGlossary(this.about, glossaryTerms(), (glossary) => {
      const form = new FormData();
      form.append("file", this.file);
      if (columns) form.append("columns", columns);
      if (glossary) form.append("glossary", glossary);
      return insist(() => ask("POST", "/api/files", form), (problem) => this.queue(problem));
    });
    this.id = sent?.id ?? null;
    if (this.stopped) this.giveBack();
  }

  /** While the server has no room; after any other problem it may have the file already. */
  queue(problem) {
    if (problem && problem.status !== 429) throw problem;
    if (problem && !this.stopped) say(this.state, "fileQueued");
    return !this.stopped;
  }

  async watch() {
    while (!this.stopped) {
      const found = await insist(() => ask("GET", this.path), (problem) => this.wait(problem));
      if (this.stopped) return;
      const { status, done, segments, error } = found;
      if (status === "failed") throw new Problem(500, error ?? "");
      if (segments) this.bar.value = done / segments;
      if (status === "done") return;
      say(this.state, "progress", { done: done ?? 0, all: segments ?? "?" });
      await sleep(EVERY);
    }
  }

  /** While the server gives no answer, which stops no translation: says why; tells whether to ask again. */
  wait(problem) {
    if (problem && !this.stopped) this.state.textContent = problem.words;
    return !this.stopped;
  }

  /** Fetches the translation at once, so that the server may lose it, and has room for others. */
  async keep() {
    if (this.stopped) return;
    this.translation = await insist(() => this.result(), (problem) => this.wait(problem));
    if (this.stopped) return;
    this.giveBack();
    say(this.state, "fileDone");
    this.bar.value = 1;
    this.fetch.hidden = false;
    if (document.activeElement === this.cancel) this.fetch.focus();
    this.cancel.hidden = true;
  }

  async result() {
    const answer = await send("GET", `${this.path}/result`);
    const content = await answer.blob().catch((error) => {
      throw new Problem(0, error.message);
    });
    return { name: nameOf(answer) ?? this.file.name, content };
  }

  fail(problem, again) {
    const known = this.id !== null;
    this.giveBack();
    this.atRisk = false;
    this.bar.hidden = true;
    this.cancel.hidden = !again;
    this.state.classList.add("bad");
    if (problem.status === 404) say(this.state, known ? "fileGone" : "fileNone", { name: this.file.name });
    else if (problem.status === 413) say(this.state, "fileTooMuch", { error: problem.message });
    else say(this.state, "fileFailed", { error: [400, 500].includes(problem.status) ? problem.message : problem.words });
  }

  stop() {
    this.stopped = true;
    this.atRisk = false;
    this.giveBack();
    say(this.state, "fileCancelled");
    this.bar.hidden = this.cancel.hidden = true;
    if (this.columns) this.columns.element.hidden = true;
  }

  /** Lets the server forget the file. */
  giveBack() {
    if (this.id) forget(this.path);
    this.id = null;
  }

  download() {
    save(this.translation.content, this.translation.name);
    this.atRisk = false;
  }
}

/** The name that the server gives an attachment. */
function nameOf(answer) {
  const said = answer.headers.get("content-disposition") ?? "";
  const coded = said.match(/filename\*=utf-8''([^;]+)/i);
  return coded ? decodeURIComponent(coded[1]) : said.match(/filename="([^"]+)"/)?.[1];
}
