// What there is to know of one segment: what its words looked at, its other translations, and its score.

import { byId, make } from "./dom.js";
import { number as written, label, percent, say, text } from "./language.js";

// Words with less attention are not named, if there are others.
const LEAST = 0.1;
// A word that the mouse only passes is not asked about.
const PATIENCE = 120;

/** A word without the signs after it. */
const bare = (word) => word.replace(/(?<=[\p{L}\p{N}])\p{P}+$/u, "");

export class Details {
  constructor(row) {
    this.row = row;
    for (const side of [row.source, row.target]) {
      side.addEventListener("mouseover", (event) => this.point(event.target, PATIENCE));
      side.addEventListener("focusin", (event) => this.point(event.target, 0));
      side.addEventListener("mouseleave", () => this.clear());
      side.addEventListener("focusout", () => this.clear());
    }
  }

  point(word, wait) {
    this.clear();
    if (word.classList.contains("word") && this.row.segment.translation !== null) {
      this.timer = setTimeout(() => this.attend(word).catch(() => {}), wait);
    }
  }

  clear() {
    clearTimeout(this.timer);
    this.pointed = null;
    for (const word of this.row.element.querySelectorAll(".attended, .pointed")) {
      word.classList.remove("attended", "pointed");
    }
  }

  /** Shows what a word of the translation looked at, or which words looked at one of the source. */
  async attend(word) {
    this.pointed = word;
    const { row } = this;
    const found = await row.document.attention(row.number);
    if (!found || this.pointed !== word) return;
    const [sources, targets] = [row.source, row.target].map((side) => [...side.querySelectorAll(".word")]);
    // Words of the model that are not those on the page cannot be pointed at.
    if (targets.length !== found.target.length || sources.length !== found.source.length - 1) return;
    const place = Number(word.dataset.place);
    const fromTarget = row.target.contains(word);
    const others = fromTarget ? sources : targets;
    const weights = fromTarget ? found.weights[place] : found.weights.map((own) => own[place]);
    word.classList.add("pointed");
    others.forEach((other, n) => {
      other.style.setProperty("--weight", Math.min(1, weights[n]).toFixed(2));
      other.classList.add("attended");
    });
    if (fromTarget) this.tell(found, place);
  }

  tell({ source, target, weights }, place) {
    const named = weights[place]
      .map((weight, n) => [weight, n === source.length - 1 ? text("end") : source[n]])
      .sort(([a], [b]) => b - a)
      .filter(([weight], place) => !place || weight >= LEAST);
    const words = named.map(([weight, word]) => `${bare(word)} (${percent(weight)})`).join(", ");
    say(byId("attention"), "attends", { word: bare(target[place]), words });
  }

  /** Fills the panel. */
  async show() {
    const { row } = this;
    const { score, tokens } = row.segment;
    const line = make("p");
    if (Number.isFinite(score)) say(line, "score", { score: written(score), tokens });
    else say(line, row.document.id ? "noScore" : "noFigures");
    const heading = make("h3");
    say(heading, "alternatives");
    const list = make("ul", { className: "alternatives" }, make("li", {}, text("loading")));
    row.panel.replaceChildren(line, ...(row.document.ready ? [heading, list] : []));
    this.list = list;
    if (row.document.ready) {
      try {
        await this.fill(list);
      } catch (problem) {
        list.replaceChildren(make("li", {}, problem.words));
      }
    }
  }

  async fill(list) {
    const { row } = this;
    const found = await row.document.alternatives(row.number, () => this.list === list && !row.panel.hidden);
    if (!found) return;
    const others = found.filter((one) => one.text !== row.segment.translation);
    list.replaceChildren(...others.map((one) => this.alternative(one)));
    if (!others.length) {
      const none = make("li", { className: "quiet" });
      say(none, "noAlternatives");
      list.append(none);
    }
  }

  alternative({ text: words, score }) {
    const { row } = this;
    const use = make("button", { type: "button" });
    say(use, "use");
    label(use, "useOf", { words });
    use.addEventListener("click", () => {
      row.toggle.focus();
      row.actions.correct(row.number, words);
    });
    const figure = make("span", { className: "figure quiet" }, written(score));
    return make("li", {}, figure, make("span", { lang: row.target.lang, className: "way" }, words), use);
  }
}
