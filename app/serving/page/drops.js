// Files that come from outside: dropped anywhere, or chosen.

import { byId } from "./dom.js";

/** Calls `take` with the files that are dropped on the page, or chosen. */
export function takeDrops(take) {
  const shade = (on) => document.body.classList.toggle("dropping", on);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    shade(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && shade(false));
  document.addEventListener("drop", (event) => {
    shade(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
  byId("file").addEventListener("change", () => {
    const chosen = [...byId("file").files];
    byId("file").value = "";
    take(chosen);
  });
}
