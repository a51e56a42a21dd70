// Requests to the server's own API.

import { text } from "./language.js";

const STORED = "weitblick-key";
// How long to wait before a question is asked again, in milliseconds: longer each time.
const [PAUSE, LONGEST_PAUSE] = [1_000, 15_000];
let askKey = async () => null;

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** An answer that is an error, with its status and headers; 0 if the server cannot be reached. */
export class Problem extends Error {
  constructor(status, message, headers = new Headers()) {
    super(message);
    this.status = status;
    // Only where a key would help the server says how it is sent.
    this.asksKey = status === 403 && headers.has("www-authenticate");
    // When to ask again at the earliest, in milliseconds.
    this.wait = 1_000 * (Number(headers.get("retry-after")) || 0);
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return [0, 409, 429].includes(this.status) || this.status >= 500;
  }

  /** What to tell a person. */
  get words() {
    const error = this.message;
    if (this.status === 0) return text("offline");
    if (this.status === 403) return text(this.asksKey ? "keyMissing" : "foreign", { host: location.host });
    if (this.status === 404) return text("gone");
    if (this.status === 413) return text("tooMuch", { error });
    if (this.status === 429) return text("slowDown");
    return text(this.status === 503 || this.status === 409 ? "late" : "failed", { error });
  }
}

/** Says how a person is asked for the key: a function of whether the last one was wrong; it gives null for none. */
export function useKeysOf(ask) {
  askKey = ask;
}

/** Sends a request; the answer if it is one of success. `body` is an object for JSON, or a form. */
export async function send(method, path, body, options = {}) {
  for (;;) {
    const answer = await attempt(method, path, body, options);
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    const problem = new Problem(answer.status, said.error ?? said.message ?? answer.statusText, answer.headers);
    const key = problem.asksKey ? await askKey(sessionStorage.getItem(STORED) !== null) : null;
    if (key === null) throw problem;
    sessionStorage.setItem(STORED, key);
  }
}

async function attempt(method, path, body, options) {
  const headers = {};
  const key = sessionStorage.getItem(STORED);
  if (key !== null) headers.authorization = `Bearer ${key}`;
  const form = body instanceof FormData;
  if (body !== undefined && !form) headers["content-type"] = "application/json";
  try {
    return await fetch(path, { method, headers, body: form ? body : JSON.stringify(body), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, error.message);
  }
}

/** The JSON of an answer. */
export async function ask(method, path, body, options) {
  const answer = await send(method, path, body, options);
  return answer.status === 204 ? null : answer.json();
}

/**
 * What an action gives, however long that takes: problems that may pass are waited for. `wanted` is given each of them,
 * and says whether the answer still counts; if not, it is null.
 */
export async function insist(action, wanted) {
  for (let pause = PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    let wait = pause;
    try {
      return await action();
    } catch (problem) {
      if (!problem.passing) throw problem;
      if (!wanted(problem)) return null;
      wait = Math.max(pause, problem.wait);
    }
    await sleep(wait);
    if (!wanted(null)) return null;
  }
}

/** Gives back what the server holds for this page, even while the page is being closed. */
export function forget(path) {
  attempt("DELETE", path, undefined, { keepalive: true }).catch(() => {});
}

/** Yields the events of a stream, each with its `name` and `content`; throws on an event of the name "error". */
export async function* events(path, body, signal) {
  const answer = await send("POST", path, body, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Problem(0, error.message);
    });
    if (done) throw new Problem(0, "the stream has no end");
    const blocks = (held + value).split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const [, name, data] = block.match(/^event: (\w+)\ndata: (.*)$/s);
      const content = JSON.parse(data);
      if (name === "error") throw new Problem(503, content.error);
      yield { name, content };
      if (name === "end") return;
    }
  }
}
