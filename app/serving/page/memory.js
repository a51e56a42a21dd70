// The strip of the memory: for each segment what was kept, how far the gate was open, and how widely was read.

import { byId, make } from "./dom.js";
import { label, number as written, percent, say } from "./language.js";

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Over how many slots attention is spread: the exponential of its entropy. */
function spread(shares) {
  const whole = shares.reduce((sum, share) => sum + share, 0) || 1;
  const entropy = shares.reduce((sum, share) => (share > 0 ? sum - (share / whole) * Math.log(share / whole) : sum), 0);
  return Math.exp(entropy);
}

/** The figures of a segment, each with its share of the largest that it can be, and how it is written. */
function figures(record) {
  const kept = 1 - mean(record.writes);
  const opened = (record.source_gate + record.target_gate) / 2;
  const slots = spread(record.source_slots.map((share, slot) => share + record.target_slots[slot]));
  return {
    kept: [kept, percent(kept)],
    opened: [opened, percent(opened)],
    read: [slots / record.source_slots.length, written(slots, 1)],
  };
}

/** Draws the strip; `records` are null for a memory that cannot be shown. */
export function drawStrip(records) {
  const strip = byId("strip");
  say(byId("memory-note"), records ? "memoryNote" : "memoryNone");
  strip.hidden = !records;
  if (!records) return;
  const found = records.map(figures);
  const head = make("tr", {}, heading("segment", "col"));
  head.append(...records.map(({ number }) => make("th", { scope: "col" }, String(number))));
  const rows = ["kept", "opened", "read"].map((name) =>
    make("tr", { className: name }, heading(name, "row"), ...found.map((own) => cell(...own[name]))),
  );
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  label(table, "memory");
  strip.replaceChildren(table);
}

function heading(name, scope) {
  const found = make("th", { scope });
  say(found, name);
  return found;
}

function cell(share, words) {
  const bar = make("span", { className: "bar" });
  bar.style.setProperty("--share", Math.max(0, Math.min(1, share)).toFixed(3));
  return make("td", {}, bar, make("span", { className: "figure" }, words));
}
