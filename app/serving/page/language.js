// The texts of the page, in the language that was chosen. Elements name theirs in `data-text`, `data-label` (for screen
// readers) and `data-placeholder`, with values for the {places} in `data-values`; so all follow when the language changes.

import { texts as de } from "./de.js";
import { texts as en } from "./en.js";

const LANGUAGES = { de, en };
const STORED = "weitblick-language";
let current = "en";

/** The text of a name; the number under `count`, else under `all`, chooses between its forms "one" and "other". */
export function text(name, values = {}) {
  const found = LANGUAGES[current][name];
  const form = typeof found === "string" ? found : (values.count ?? values.all) === 1 ? found.one : found.other;
  return form.replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

/** Shows a text in an element, and keeps it in the language of the page. */
export function say(element, name, values = {}) {
  element.dataset.text = name;
  element.dataset.values = JSON.stringify(values);
  element.textContent = text(name, values);
}

/** Names an element for screen readers. */
export function label(element, name, values = {}) {
  element.dataset.label = name;
  element.dataset.values = JSON.stringify(values);
  element.setAttribute("aria-label", text(name, values));
}

export const number = (value, digits = 2) =>
  value.toLocaleString(current, { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");

export const percent = (value) => value.toLocaleString(current, { style: "percent", maximumFractionDigits: 0 });

/** Turns the whole page to a language. */
export function speak(code) {
  current = code;
  document.documentElement.lang = code;
  localStorage.setItem(STORED, code);
  for (const element of document.querySelectorAll("[data-text], [data-label], [data-placeholder]")) {
    const { text: name, label: labelled, placeholder, values } = element.dataset;
    const given = values ? JSON.parse(values) : {};
    if (name) element.textContent = text(name, given);
    if (labelled) element.setAttribute("aria-label", text(labelled, given));
    if (placeholder) element.placeholder = text(placeholder);
  }
}

/** The language that was chosen before, else the browser's. */
export function preferred() {
  const stored = localStorage.getItem(STORED);
  if (stored in LANGUAGES) return stored;
  return navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
}
