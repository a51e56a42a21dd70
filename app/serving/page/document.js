// The document that is being translated and corrected: what the page knows of it, and the requests that change it.

import { Problem, ask, askUntil, events, forget } from "./api.js";

// Segments in a request that compares.
const TOGETHER = 100;

/**
 * A document. `segments` hold `source`, `translation` (null until it is there), `corrected`, `score` and `tokens`; after a
 * change `before`, the translation that was replaced; in a comparison `alone`, that without memory.
 */
export class Document {
  constructor(id, glossary) {
    this.id = id;
    this.glossary = glossary;
    this.segments = [];
    this.gaps = [""];
    this.attentions = new Map();
    this.filling = false;
    // Whether the server may have other segments: a change failed, and nobody knows how far it came.
    this.stale = false;
    this.settling = null;
  }

  /** Whether it can be asked and corrected: not while it is being translated. */
  get ready() {
    return this.id !== null && !this.filling;
  }

  /** Opens one; a server whose model reads documents backward opens none, and its segments cannot be corrected. */
  static async open(about, glossary) {
    if (!about.documents) return new Document(null, glossary);
    const { id } = await ask("POST", "/api/documents", { glossary });
    return new Document(id, glossary);
  }

  get corrected() {
    return this.segments.some(({ corrected }) => corrected);
  }

  /** Whether a correction can be taken back: one that the server is known to have. */
  get undoable() {
    return this.ready && this.corrected && !this.stale;
  }

  get path() {
    return `/api/documents/${this.id}`;
  }

  /** The number of segments that are translated. */
  get done() {
    return this.segments.filter((segment) => segment.translation !== null).length;
  }

  /** Translates a text; calls `changed` with nothing when its segments are known, then with the number of each. */
  async fill(text, signal, changed) {
    const path = this.id ? `${this.path}/segments/stream` : "/api/translate/stream";
    const body = this.id ? { text } : { text, glossary: this.glossary };
    this.filling = true;
    try {
      for await (const { name, content } of events(path, body, signal)) {
        if (name === "text") {
          this.gaps = content.gaps;
          this.segments = content.segments.map((source) => ({ source, translation: null, corrected: false }));
          changed();
        } else if (name === "segment") {
          Object.assign(this.segments[content.number - 1], content);
          changed(content.number);
        }
      }
    } finally {
      this.filling = false;
    }
  }

  /** After a translation that did not come to its end: forgets, at once, what is not translated. */
  cut() {
    this.segments = this.segments.filter((segment) => segment.translation !== null);
    this.stale = this.id !== null;
  }

  /** Then asks the server, which may have more; it need not answer. */
  async check() {
    if (!this.stale) return;
    try {
      await this.refresh();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
    }
  }

  /** Sets the right translation of a segment; the numbers of those after it that changed. */
  correct(number, text) {
    return this.change("PUT", `${this.path}/segments/${number}`, { text });
  }

  /** Takes back the last correction; the numbers of the segments that changed. */
  undo() {
    return this.change("POST", `${this.path}/undo`);
  }

  async change(method, path, body) {
    const before = this.segments.map((segment) => segment.translation);
    try {
      const { changed } = await ask(method, path, body);
      await this.refresh();
      for (const { number } of changed) this.segments[number - 1].before = before[number - 1];
      return changed.map(({ number }) => number);
    } catch (problem) {
      this.stale = true;
      throw problem;
    }
  }

  async refresh() {
    this.learn(await ask("GET", this.path));
  }

  /** After a change that failed: learns what the server has, as soon as it says so; `wanted` says whether to go on. */
  settle(wanted) {
    this.settling ??= askUntil(this.path, () => wanted() && this.stale)
      .then((found) => found && this.learn(found))
      .finally(() => (this.settling = null));
    return this.settling;
  }

  learn({ segments }) {
    this.segments = segments;
    this.stale = false;
    this.attentions.clear();
  }

  /** What the words of a segment attended to; null if the server cannot tell. Each is asked for once. */
  attention(number) {
    if (!this.ready) return Promise.resolve(null);
    if (!this.attentions.has(number)) {
      const asked = ask("GET", `${this.path}/segments/${number}`).then((found) => found.attention);
      this.attentions.set(number, asked);
    }
    return this.attentions.get(number);
  }

  async alternatives(number) {
    return (await ask("GET", `${this.path}/segments/${number}/alternatives`)).alternatives;
  }

  /** How the memory was used in each segment; null for a memory that cannot be shown. */
  async memory() {
    return this.id ? (await ask("GET", `${this.path}/memory`)).segments : null;
  }

  /** Translates each segment that is not corrected alone; returns how many there are, and how many come out otherwise. */
  async compare() {
    const segments = this.segments.filter(({ corrected }) => !corrected);
    for (let first = 0; first < segments.length; first += TOGETHER) {
      const some = segments.slice(first, first + TOGETHER);
      const body = { text: some.map(({ source }) => source), sentences: false, glossary: this.glossary };
      const { translations } = await ask("POST", "/api/translate", body);
      translations.forEach(({ text }, place) => (some[place].alone = text));
    }
    return { all: segments.length, count: segments.filter((own) => own.alone !== own.translation).length };
  }

  /** The translation as far as there is one, with the white space of the text. */
  joined() {
    const known = this.segments.filter(({ translation }) => translation !== null);
    const whole = known.length === this.gaps.length - 1;
    return known.map(({ translation }, place) => this.gaps[place] + translation).join("") + (whole ? this.gaps.at(-1) : "");
  }

  close() {
    if (this.id) forget(this.path);
  }
}
