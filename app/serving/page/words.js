// Words: shown one by one, and compared.

import { make } from "./dom.js";

const split = (text) => text.split(/\s+/).filter(Boolean);

/** Fills an element with the words of a text; each is a span that can be focused from a script. */
export function showWords(element, text, marked = new Set()) {
  const words = split(text).flatMap((word, place) => {
    const span = make("span", { className: "word", tabIndex: -1, dataset: { place } }, word);
    return [" ", marked.has(place) ? make("mark", {}, span) : span];
  });
  element.replaceChildren(...words.slice(1));
}

/** The places of the words of `after` that are not in a longest common subsequence with `before`. */
export function newWords(before, after) {
  const [a, b] = [split(before), split(after)];
  if (a.length * b.length > 1e6) return new Set(b.keys()); // no sentence, and too long to compare
  const lengths = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const found = new Set();
  for (let i = 0, j = 0; j < b.length; ) {
    if (i < a.length && a[i] === b[j]) [i, j] = [i + 1, j + 1];
    else if (i < a.length && lengths[i + 1][j] >= lengths[i][j + 1]) i++;
    else found.add(j++);
  }
  return found;
}
