// Files that come to the page: a short plain text goes into the text box, all others to the server.

import { byId } from "./dom.js";
import { sure } from "./sure.js";
import { Upload } from "./upload.js";

const PLAIN = /\.(txt|text)$/i;
const uploads = [];
// What a file has put into the text box.
let filled = null;

/** Takes files: a short plain text that comes alone goes into the text box, all others to the server. */
export async function takeFiles(files, about, tell) {
  const written = files.length === 1 ? await plainText(files[0], about.characters) : null;
  if (written !== null) return fillBox(written, files[0].name, tell);
  for (const file of files) {
    const upload = new Upload(file, about);
    uploads.push(upload);
    upload.run();
  }
}

async function fillBox(written, name, tell) {
  const box = byId("text");
  const typed = box.value.trim() !== "" && box.value !== filled;
  if (typed && !(await sure("sureReplace", { name }))) return;
  box.value = written;
  filled = box.value;
  tell("fileRead", { name });
}

/** Whether a file is at the server still, or its translation has not been saved. */
export const filesAtRisk = () => uploads.some(({ atRisk }) => atRisk);

/** Gives back what the server holds of files. */
export function forgetFiles() {
  for (const upload of uploads) upload.giveBack();
}

/** The text of a file of plain text in UTF-8 of at most so many bytes; null for any other, which the server may know. */
async function plainText(file, most) {
  if (!PLAIN.test(file.name) || file.size > most) return null;
  const bytes = await file.arrayBuffer();
  try {
    const written = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return written.includes("\0") ? null : written;
  } catch {
    return null;
  }
}
