// Files that the server translates: sent, watched, cancelled, and fetched.

import { Problem, ask, askUntil, forget, send, sleep } from "./api.js";
import { byId, make, save } from "./dom.js";
import { label, say, text } from "./language.js";

// How often the server is asked how far it is, in milliseconds.
const EVERY = 700;
const PLAIN = /\.(txt|text)$/i;

/** Takes files: a short plain text that comes alone goes into the text box, all others to the server. */
export async function takeFiles(files, about, tell) {
  const written = files.length === 1 ? await plainText(files[0], about.characters) : null;
  if (written === null) {
    for (const file of files) new Upload(file).run();
  } else {
    byId("text").value = written;
    tell("fileRead", { name: files[0].name });
  }
}

/** The text of a file of plain text in UTF-8, with so many bytes at most; null for any other, which the server may know. */
async function plainText(file, most) {
  if (!PLAIN.test(file.name) || file.size > most) return null;
  const bytes = await file.arrayBuffer();
  try {
    const written = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return written.includes("\0") ? null : written;
  } catch {
    return null;
  }
}

class Upload {
  constructor(file) {
    this.file = file;
    this.bar = make("progress", { max: 1 });
    label(this.bar, "fileBar", { name: file.name });
    this.state = make("span", { className: "quiet", role: "status" });
    this.cancel = this.button("cancel", "fileCancel", () => this.stop());
    this.fetch = this.button("download", "fileDownload", () => this.download());
    this.fetch.hidden = true;
    const name = make("span", { className: "name" }, file.name);
    this.element = make("li", {}, name, this.bar, this.state, this.cancel, this.fetch);
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

  async run() {
    say(this.state, "fileWaiting");
    try {
      const form = new FormData();
      form.append("file", this.file);
      this.id = (await ask("POST", "/api/files", form)).id;
      if (this.stopped) return forget(this.path);
      await this.watch();
    } catch (problem) {
      if (!this.stopped) this.fail(problem);
    }
  }

  async watch() {
    while (!this.stopped) {
      const found = await askUntil(this.path, (problem) => this.wait(problem));
      if (this.stopped) return;
      const { status, done, segments, error } = found;
      if (status === "failed") throw new Problem(500, error ?? "");
      if (segments) this.bar.value = done / segments;
      if (status === "done") return this.finish();
      say(this.state, "progress", { done: done ?? 0, all: segments ?? "?" });
      await sleep(EVERY);
    }
  }

  /** While the server gives no answer, which stops no translation: says why; tells whether to ask again. */
  wait(problem) {
    if (problem && !this.stopped) this.state.textContent = problem.words;
    return !this.stopped;
  }

  finish() {
    this.state.classList.remove("bad");
    say(this.state, "fileDone");
    this.bar.value = 1;
    this.cancel.hidden = true;
    this.fetch.hidden = false;
  }

  fail(problem) {
    this.bar.hidden = this.cancel.hidden = true;
    this.state.classList.add("bad");
    if (problem.status === 404 && !this.id) say(this.state, "fileNone", { name: this.file.name });
    else if (problem.status === 404) say(this.state, "fileGone");
    else say(this.state, "fileFailed", { error: problem.status === 500 ? problem.message : problem.words });
  }

  stop() {
    this.stopped = true;
    if (this.id) forget(this.path);
    say(this.state, "fileCancelled");
    this.bar.hidden = this.cancel.hidden = true;
  }

  async download() {
    try {
      const answer = await send("GET", `${this.path}/result`);
      save(await answer.blob(), nameOf(answer) ?? this.file.name);
      this.finish();
    } catch (problem) {
      this.fail(problem);
    }
  }
}

/** The name that the server gives an attachment. */
function nameOf(answer) {
  const said = answer.headers.get("content-disposition") ?? "";
  const coded = said.match(/filename\*=utf-8''([^;]+)/i);
  return coded ? decodeURIComponent(coded[1]) : said.match(/filename="([^"]+)"/)?.[1];
}
