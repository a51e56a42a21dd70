// What the page says, one thing at a time: how it went, or what went wrong.

import { Problem } from "./api.js";
import { byId } from "./dom.js";
import { say } from "./language.js";

export const tell = (name, values) => show("status", () => say(byId("status"), name, values));

function show(id, fill) {
  byId("problem").hidden = true;
  byId("status").hidden = true;
  fill();
  byId(id).hidden = false;
}

/** Does something, and says what went wrong. */
export async function attempt(action) {
  try {
    return await action();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const words = problem.status === 400 ? problem.message : problem.words;
    show("problem", () => (byId("problem").textContent = words));
  }
}
