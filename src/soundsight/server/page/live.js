// The Live tab: what is spoken goes to the server as it is spoken, and its picture follows.
import { alertOf, askToken, make, Problem, readToken, show } from "./api.js";
import { percent } from "./gallery.js";
import { measure, openMicrophone, showLevel, toInt16 } from "./microphone.js";
import { paintLine } from "./paint.js";
import { options } from "./settings.js";

const $ = (id) => document.getElementById(id);
const BLOCK_S = 0.05;
const SHOWN_BLOCKS = 120; // 6 s
const MOST_WAITING_BYTES = 2 ** 20;
const MOST_WORDS = 60;

let session = null; // the one that runs: {socket, microphone}
let numWords = 0;

const heardText = (heard) => (!heard ? "" : heard.outlier > 0.5 ? "none it knows" : `“${heard.label}” ${percent(heard.confidence)}`);

function setState(state) {
  const button = $("live-toggle");
  button.querySelector(".text").textContent = { off: "Start", opening: "Wait…", on: "Stop" }[state];
  button.classList.toggle("on", state === "on");
  $("live-state").textContent = { off: "not listening", opening: "getting ready", on: "listening" }[state];
  if (state === "off") showLevel($("live-level"), button, 0);
  if (state !== "opening") $("live-status").textContent = state === "on" ? "Listening." : "Stopped.";
}

function showImage(message, chosen) {
  const label = heardText(message.heard);
  show($("live-picture"), message, `Picture of the word being spoken${label ? `, heard as ${label}` : ""}`);
  $("live-idle").hidden = true;
  if (session) $("live-state").textContent = label || "listening";
  if (!message.final) return;
  numWords += 1;
  const words = $("live-words");
  const alt = `Word ${numWords}, seed ${chosen.seed}${label ? `, heard as ${label}` : ""}`;
  words.append(make("li", {}, show(make("img"), message, alt), label || `${numWords}`));
  while (words.children.length > MOST_WORDS) words.firstElementChild.remove();
  words.scrollLeft = words.scrollWidth;
  $("live-status").textContent = `Picture of word ${numWords}${label ? `: ${label}` : ""}.`;
}

async function begin() {
  alertOf(null);
  setState("opening");
  const chosen = options({ isNew: true });
  const peaks = [];
  const mine = (session = {});
  const isMine = () => session === mine;
  try {
    mine.microphone = await openMicrophone((samples) => {
      if (!isMine()) return;
      const { level, peak } = measure(samples);
      peaks.push(peak);
      if (peaks.length > SHOWN_BLOCKS) peaks.shift();
      showLevel($("live-level"), $("live-toggle"), level);
      paintLine($("live-line"), peaks, { filled: peaks.length / SHOWN_BLOCKS, gain: 1 / Math.max(0.2, ...peaks) });
      // On a slow line, old sound is dropped, so that the picture stays with the voice.
      if (mine.isReady && mine.socket.bufferedAmount < MOST_WAITING_BYTES) mine.socket.send(toInt16(samples));
    }, BLOCK_S);
  } catch (error) {
    if (isMine()) end();
    return alertOf(error);
  }
  if (!isMine()) return mine.microphone.close();
  connect(mine, chosen, isMine);
}

function connect(mine, chosen, isMine) {
  const socket = (mine.socket = new WebSocket(new URL("v1/live", document.baseURI).href.replace(/^http/, "ws")));
  socket.binaryType = "arraybuffer";
  let hasProblem = false;
  socket.onopen = () => {
    const { model, seed, variation, guidance, steps } = chosen;
    const start = { type: "start", sample_rate_hz: mine.microphone.rateHz, model, seed, variation, guidance, steps, token: readToken() ?? undefined };
    socket.send(JSON.stringify(start)); // what is undefined is left out
  };
  socket.onmessage = async ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "image") return showImage(message, chosen); // also the last word's, after stop
    if (message.type === "problem") {
      hasProblem = true;
      if (!isMine()) return;
      end();
      if (message.status !== 401) return alertOf(new Problem(message));
      await askToken();
      begin();
    }
    if (!isMine()) return;
    if (message.type === "ready") {
      mine.isReady = true;
      setState("on");
    } else if (message.type === "level") {
      if ($("live-state").textContent.match(/^(listening|speaking)$/)) $("live-state").textContent = message.speaking ? "speaking" : "listening";
    } else if (message.type === "end") {
      end();
    }
  };
  socket.onclose = ({ code }) => {
    if (!isMine()) return;
    end();
    if (hasProblem) return;
    const why = { 1000: "The live session is over; start again to go on.", 1012: "The server is shutting down.", 1013: "The server is busy; try again in a moment." };
    alertOf(new Problem({ detail: why[code] ?? "The connection for the live mode broke off." }));
  };
}

/** Ends what runs; the last word's picture may still come. */
export function end() {
  const ended = session;
  if (!ended) return;
  session = null;
  ended.microphone?.close();
  const { socket } = ended;
  if (socket?.readyState === WebSocket.OPEN && ended.isReady) {
    socket.send(JSON.stringify({ type: "stop" }));
    setTimeout(() => socket.close(), 3000);
  } else {
    socket?.close();
  }
  setState("off");
}

export function start() {
  $("live-toggle").addEventListener("click", () => (session ? end() : begin()));
  window.addEventListener("pagehide", end);
}
