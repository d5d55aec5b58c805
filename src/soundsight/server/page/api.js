// Talks to the server: one request, its streamed lines, its problems as sentences, and the token where one is asked for.

const TOKEN = "soundsight-token";
const $ = (id) => document.getElementById(id);

export class Problem extends Error {
  constructor(problem) {
    super(sentence(problem));
    this.status = problem.status ?? 0;
  }
}

function sentence({ title, detail, errors }) {
  const text = detail || errors?.[0]?.detail || title || "Something went wrong";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

// Storage can be forbidden; then the token lives as long as the page.
let token = null;
export function readToken() {
  try { token ??= sessionStorage.getItem(TOKEN); } catch {}
  return token;
}

let asking = null;
/** Shows the form for the token and waits until one was given; everybody who asks meanwhile waits for the same one. */
export function askToken() {
  asking ??= new Promise((resolve) => {
    const form = $("token-form");
    const before = document.activeElement;
    form.hidden = false;
    if (readToken()) alertOf(new Error("That was not the right token."));
    $("token").value = "";
    $("token").focus();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      alertOf(null);
      token = $("token").value.trim();
      try { sessionStorage.setItem(TOKEN, token); } catch {}
      form.hidden = true;
      focusBack(before);
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

/**
 * One request; returns the response if it is a good one. `sounds`: {part: {name, blob}}; `onWait(seconds)` is called before
 * the one retry of 429.
 * @throws {Problem} The server says no, or cannot be reached.
 */
export async function call(path, { query = {}, sounds, signal, onWait } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const body = sounds && new FormData();
  for (const part in sounds) body.append(part, sounds[part].blob, sounds[part].name);
  for (let hasWaited = false; ;) {
    const headers = readToken() ? { Authorization: `Bearer ${readToken()}` } : {};
    let response;
    try {
      response = await fetch(url, { method: body ? "POST" : "GET", body, headers, signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem({ detail: "The server cannot be reached. Is “soundsight serve” still running?" });
    }
    if (response.ok) return response;
    const retryAfterS = Number(response.headers.get("Retry-After")) || 0;
    const problem = await response.json().catch(() => ({ title: response.statusText || `The server answered ${response.status}` }));
    if (response.status === 401) {
      await askToken();
      signal?.throwIfAborted();
    } else if (response.status === 429 && !hasWaited && retryAfterS <= 60) {
      hasWaited = true;
      const seconds = Math.max(1, retryAfterS);
      onWait?.(seconds);
      await pause(seconds, signal);
    } else {
      throw new Problem({ status: response.status, ...problem });
    }
  }
}

/** The objects of a streamed answer, as they come. */
export async function* lines(path, options) {
  const response = await call(path, options);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let hasEnded = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const whole = rest.split("\n");
      rest = done ? "" : whole.pop();
      for (const line of whole) {
        if (!line.trim()) continue;
        const message = JSON.parse(line);
        if (message.type === "problem") throw new Problem(message);
        hasEnded ||= message.type === "end";
        yield message;
      }
      if (done) break;
    }
  } catch (error) {
    if (error instanceof Problem || options.signal?.aborted) throw error;
    throw new Problem({ detail: "The connection broke off before all pictures had come." });
  } finally {
    reader.cancel().catch(() => {});
  }
  if (!hasEnded) throw new Problem({ detail: "The server stopped before all pictures had come." });
}

/** An example as a sound. */
export async function fetchExample({ name, url }) {
  const response = await fetch(url);
  if (!response.ok) throw new Error("This example could not be fetched.");
  return { name, blob: await response.blob() };
}

/** Gives the focus back to what had it, or to the page, before what has it now goes away. */
function focusBack(before) {
  (before?.isConnected && before !== document.body ? before : $("main")).focus({ preventScroll: true });
}

/** Shows a problem as one sentence until it is dismissed or something else is done; null takes it away. */
export function alertOf(error) {
  const place = $("alert");
  place.replaceChildren();
  if (!error || error.name === "AbortError") return;
  const before = document.activeElement;
  const close = make("button", { type: "button", id: "alert-close", textContent: "Dismiss" });
  close.addEventListener("click", () => { place.replaceChildren(); focusBack(before); });
  place.append(make("div", { className: "alert" }, make("p", { textContent: error.message }), close));
  place.scrollIntoView({ block: "nearest" });
}

/** Saves a blob as a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30000);
}

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const child of children) element.append(child);
  return element;
}

/** Puts a picture into an <img>; one of few pixels is marked, so that it is enlarged softly. */
export function show(img, { png, width, height }, alt) {
  Object.assign(img, { src: pngUrl(png), alt, width, height });
  img.classList.toggle("coarse", width <= 64);
  img.hidden = false;
  return img;
}

export const pngUrl = (png) => `data:image/png;base64,${png}`;
