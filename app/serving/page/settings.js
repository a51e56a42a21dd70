// Language, colours, the list of shortcuts, and the key.

import { useKeysOf } from "./api.js";
import { byId, make } from "./dom.js";
import { preferred, say, speak, text } from "./language.js";

const THEME = "weitblick-theme";
// Keys, and the text that says what they do; words among the keys are translated.
const SHORTCUTS = [
  [["control", "enter"], "keyTranslate"],
  [["escape"], "keyEscape"],
  [["↑", "↓"], "keySegments"],
  [["←", "→"], "keyWords"],
  [["enter"], "keyDetails"],
  [["E"], "keyCorrect"],
  [["control", "Z"], "keyUndo"],
  [["M"], "keyCompare"],
  [["control", "S"], "keySave"],
  [["?"], "keyHelp"],
];

/** Makes the controls work; `spoken` is called after the language has changed. */
export function setUp(spoken) {
  const language = byId("language");
  const turn = (code) => {
    speak(code);
    spoken();
    listShortcuts();
  };
  language.value = preferred();
  language.addEventListener("change", () => turn(language.value));
  const theme = byId("theme");
  theme.value = localStorage.getItem(THEME) ?? "auto";
  theme.addEventListener("change", () => paint(theme.value));
  paint(theme.value);
  byId("help-button").addEventListener("click", showHelp);
  byId("help-close").addEventListener("click", () => byId("help").close());
  useKeysOf(askKey);
  turn(language.value);
}

export function showHelp() {
  byId("help").showModal();
}

function paint(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
}

function listShortcuts() {
  const rows = SHORTCUTS.flatMap(([keys, name]) => {
    const written = keys.map((key) => make("kbd", {}, key.length > 1 ? text(key) : key));
    const description = make("dd");
    say(description, name);
    return [make("dt", {}, ...written.flatMap((key, n) => (n ? [" ", key] : [key]))), description];
  });
  byId("shortcuts").replaceChildren(...rows);
}

let asked = null;

/** Asks a person for the key, once for all requests that need it; null if there is none. */
function askKey(wrong) {
  asked ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    let key = null;
    byId("key-wrong").hidden = !wrong;
    byId("key").value = "";
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      key = byId("key").value.trim();
      dialog.close();
    };
    byId("key-cancel").onclick = () => dialog.close();
    dialog.addEventListener("close", () => resolve(key), { once: true });
    dialog.showModal();
  }).finally(() => (asked = null));
  return asked;
}
