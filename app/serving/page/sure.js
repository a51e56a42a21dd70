// Asks a person before something is lost.

import { byId } from "./dom.js";
import { say } from "./language.js";

let last = Promise.resolve();

/** Whether a person wants to go on, although something will be lost; a question waits for those before it. */
export function sure(name, values) {
  last = last.then(() => question(name, values));
  return last;
}

function question(name, values) {
  const dialog = byId("sure");
  let yes = false;
  say(byId("sure-question"), name, values);
  byId("sure-yes").onclick = () => {
    yes = true;
    dialog.close();
  };
  byId("sure-no").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(yes), { once: true }));
}
