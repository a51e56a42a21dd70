// The document that is being translated and corrected: what the page knows of it, and the requests that change it.

import { Problem, ask, events, forget, insist } from "./api.js";
import { withGlossary } from "./glossary.js";

// Segments in a request that compares or restores.
const TOGETHER = 100;
// The longest time that a browser can wait, in milliseconds.
const LONGEST = 2 ** 31 - 1;

/**
 * A document. `segments` hold `source`, `translation` (null until it is there), `corrected`, `score` and `tokens`; after a
 * change `before`, the translation that was replaced; in a comparison `alone`, that without memory.
 */
export class Document {
  constructor(about, terms, glossary) {
    Object.assign(this, { about, terms, glossary });
    this.id = null;
    this.segments = [];
    this.gaps = [""];
    this.attentions = new Map();
    this.asking = Promise.resolve();
    this.filling = false;
    // Whether the last correction can be taken back, by what the server said last.
    this.undoes = false;
    // Whether the last change was one of a document that had to be restored.
    this.restored = false;
    // Whether the server may have other segments: a change failed, and nobody knows how far it came.
    this.stale = false;
    this.settling = null;
  }

  /** Whether it can be asked and corrected: not while it is being translated. */
  get ready() {
    return this.id !== null && !this.filling;
  }

  /**
   * Opens one, with the terms of a glossary and its id. A server whose model reads documents backward opens none, and
   * segments cannot be corrected then.
   */
  static async open(about, terms, glossary) {
    const own = new Document(about, terms, glossary);
    if (about.documents) own.connect(await ask("POST", "/api/documents", { glossary }));
    return own;
  }

  /** Takes the name that the server has for it, and asks for it now and then: what nobody uses is forgotten. */
  connect({ id, idle_seconds: seconds }) {
    clearInterval(this.pulse);
    this.id = id;
    const pause = Math.min((1_000 * seconds) / 3, LONGEST);
    this.pulse = setInterval(() => this.ready && this.question("").catch(() => {}), pause);
  }

  get corrected() {
    return this.segments.some(({ corrected }) => corrected);
  }

  /** Whether a correction can be taken back: one that the server is known to have. */
  get undoable() {
    return this.ready && this.undoes && !this.stale;
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
    return this.change(() => ask("PUT", `${this.path}/segments/${number}`, { text }), number);
  }

  /** Takes back the last correction; the numbers of the segments that changed. */
  undo() {
    // A document that was restored has no correction to take back.
    return this.change(() => this.restored || ask("POST", `${this.path}/undo`));
  }

  /** Makes a change; the numbers of the other segments that are different after it. */
  async change(action, corrected = null) {
    const before = this.segments.map((segment) => segment.translation);
    try {
      await this.make(action);
      await this.refresh();
    } catch (problem) {
      this.stale = true;
      throw problem;
    }
    const numbers = before.map((_, place) => place + 1).filter((number) => number !== corrected);
    const changed = numbers.filter((number) => this.segments[number - 1].translation !== before[number - 1]);
    for (const number of changed) this.segments[number - 1].before = before[number - 1];
    return changed;
  }

  /** Does something with the document, which is restored first if the server has lost it. */
  async make(action) {
    this.restored = false;
    try {
      return await action();
    } catch (problem) {
      if (problem.status !== 404) throw problem;
    }
    await withGlossary(this.about, this.terms, (glossary) => this.restore(glossary));
    this.restored = true;
    return action();
  }

  /** Opens the document anew, with its corrections. */
  async restore(glossary) {
    const opened = await ask("POST", "/api/documents", { glossary });
    const path = `/api/documents/${opened.id}`;
    try {
      for (const some of parts(this.segments, this.about.characters)) {
        const corrections = some.map(({ corrected, translation }) => (corrected ? translation : null));
        await ask("POST", `${path}/segments`, { segments: some.map(({ source }) => source), corrections });
      }
    } catch (problem) {
      forget(path);
      throw problem;
    }
    this.glossary = glossary;
    this.connect(opened);
  }

  async refresh() {
    this.learn(await ask("GET", this.path));
  }

  /** After a change that failed: learns what the server has, as soon as it says so; `wanted` says whether to go on. */
  settle(wanted) {
    this.settling ??= insist(() => ask("GET", this.path), () => wanted() && this.stale)
      .then((found) => found && this.learn(found))
      .finally(() => (this.settling = null));
    return this.settling;
  }

  learn({ segments, undoable }) {
    this.segments = segments;
    this.undoes = undoable;
    this.stale = false;
    this.attentions.clear();
  }

  /**
   * Asks about the document, after all that was asked before: the server lets few requests wait. Null if that is not
   * `wanted` any more when its turn comes.
   */
  question(path, wanted = () => true) {
    const asked = this.asking.then(() => (wanted() ? ask("GET", `${this.path}${path}`) : null));
    this.asking = asked.catch(() => {});
    return asked;
  }

  /** What the words of a segment attended to; null if the server cannot tell. Each is asked for once. */
  attention(number) {
    if (!this.ready) return Promise.resolve(null);
    if (!this.attentions.has(number)) {
      const asked = this.question(`/segments/${number}`).then((found) => found.attention);
      this.attentions.set(number, asked);
      asked.catch(() => this.attentions.get(number) === asked && this.attentions.delete(number));
    }
    return this.attentions.get(number);
  }

  /** The translations of a segment that the search has; null if they are not `wanted` any more. */
  async alternatives(number, wanted) {
    return (await this.question(`/segments/${number}/alternatives`, wanted))?.alternatives ?? null;
  }

  /** How the memory was used in each segment; null for a memory that cannot be shown. */
  async memory() {
    return this.id ? (await this.question("/memory")).segments : null;
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
    clearInterval(this.pulse);
    if (this.id) forget(this.path);
  }
}

/** Segments in parts that fit into requests of so many characters. */
function parts(segments, characters) {
  const found = [[]];
  let size = 0;
  for (const segment of segments) {
    const own = segment.source.length + (segment.corrected ? segment.translation.length : 0);
    if (found.at(-1).length === TOGETHER || size + own > characters) {
      found.push([]);
      size = 0;
    }
    found.at(-1).push(segment);
    size += own;
  }
  return found.filter((some) => some.length);
}
