// The Draw tab: a sound comes in by microphone, file, example or from the history, and its pictures come one by one.
import { alertOf, call, fetchExample, lines, make } from "./api.js";
import { Gallery, heardIn, showHeard } from "./gallery.js";
import * as history from "./history.js";
import { Recorder, showLevel } from "./microphone.js";
import { paintFeatures, paintLine } from "./paint.js";
import { drawOptions, model, onChange, setOptions } from "./settings.js";
import { downloadAll, openViewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);

let sounds = []; // what was asked for: {id, name, blob}
let drawings = []; // what is on the board; one for each sound
let timer = 0;
let shown = null; // the one whose waveform is shown
let abort = new AbortController();
const player = new Audio();
const HINT = [...$("sound-name").childNodes];

const say = (text) => { $("status").textContent = text; };
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const newId = () => `${Date.now()}-${crypto.getRandomValues(new Uint32Array(1))[0]}`;

const gallery = new Gallery({
  onOpen: (drawing, part, index) => openViewer(drawings, drawing, part, index),
  onLook: (drawing, part) => { showSound(drawing); showFeatures(part); },
});

/** Peaks of all parts in a row, with a breath between them. */
const peaksOf = ({ parts }) => parts.flatMap(({ peaks }, i) => (i ? [...Array(12).fill(0), ...peaks] : peaks));

function showSound(drawing) {
  if (shown !== drawing) stopPlaying();
  shown = drawing;
  const seconds = drawing.parts.reduce((sum, part) => sum + part.duration_s, 0);
  showCanvas();
  $("sound-name").textContent = `${drawing.name}, ${seconds.toFixed(2)} s`;
  $("play").hidden = !drawing.sound;
  const peaks = peaksOf(drawing);
  const loudest = peaks.indexOf(Math.max(...peaks)) / Math.max(1, peaks.length);
  $("waveform").setAttribute("aria-label", `Waveform of ${drawing.name}: ${seconds.toFixed(2)} seconds, loudest ${loudest < 1 / 3 ? "at the beginning" : loudest < 2 / 3 ? "in the middle" : "at the end"}`);
  paintLine($("waveform"), peaks);
}

function showCanvas() {
  $("motif").setAttribute("hidden", "");
  $("waveform").hidden = false;
}

/** The sound before is not what the board is empty of. */
function showNothing() {
  stopPlaying();
  shown = null;
  $("motif").removeAttribute("hidden");
  $("waveform").hidden = $("play").hidden = true;
  $("sound-name").replaceChildren(...HINT);
  document.querySelector(".seen").hidden = true;
}

function showFeatures(part) {
  document.querySelector(".seen").hidden = !part.features;
  if (!part.features) return;
  paintFeatures($("features"), part.features).catch(() => {});
}

const onWait = (seconds) => say(`The server is busy. Trying once more in ${plural(seconds, "second")}.`);

/**
 * Draws sounds {name, blob}, one after the other; what was being drawn is left off. `isNew`: with a new seed, unless it is
 * kept, and a new entry in the history; `since`: when the sound ended.
 */
async function draw(wanted, { isNew = true, since = performance.now() } = {}) {
  abort.abort();
  clearTimeout(timer);
  sounds = wanted.map(({ id, name, blob }) => ({ id: (!isNew && id) || newId(), name, blob }));
  const { signal } = (abort = new AbortController());
  const options = drawOptions({ isNew });
  alertOf(null);
  drawings = [];
  $("heard").hidden = true;
  $("timing").textContent = "";
  delete $("gallery").dataset.firstMs;
  gallery.clear(options.num_images, true, sounds.length);
  let failure = null;
  for (const [i, { id, name, blob }] of sounds.entries()) {
    if (sounds.length > 1) say(`Drawing sound ${i + 1} of ${sounds.length}.`);
    const drawing = { id, time: Date.now(), name, sound: blob, options, parts: [] };
    try {
      await drawOne(drawing, since, signal);
    } catch (error) {
      if (signal.aborted) return;
      // The server does not know the file's name.
      failure = error.status === 422 ? new Error(`${name}: ${error.message.replace(/^The (sound|given bytes): /, "")}`) : error;
    }
    if (signal.aborted) return;
    if (drawing.parts.some((part) => part.images.length)) history.put(drawing).catch(console.warn);
  }
  gallery.finish();
  sayFirst();
  finish(failure);
}

const inWords = (ms) => (ms < 10000 ? `${ms} ms` : `${Math.round(ms / 1000)} s`);
const sayFirst = () => { $("timing").textContent = $("gallery").dataset.firstMs ? `The first picture came after ${inWords($("gallery").dataset.firstMs)}.` : ""; };

async function drawOne(drawing, since, signal) {
  const file = { name: drawing.name, blob: drawing.sound };
  for await (const message of lines("v1/images", { query: { ...drawing.options, format: "ndjson" }, sounds: { file }, signal, onWait })) {
    if (signal.aborted) return;
    if (message.type === "sound") {
      const part = { ...message, images: [] };
      if (!drawing.parts.length) drawings.push(drawing);
      drawing.parts.push(part);
      gallery.addPart(drawing, part);
      showSound(drawing);
      showFeatures(part);
      showHeard(drawing, model());
    } else if (message.type === "image") {
      const part = drawing.parts.find((one) => one.part === message.part); // all parts may be told before the first picture
      if (!part) continue;
      part.images.push({ png: message.png, width: message.width, height: message.height });
      gallery.addImage(drawing, part, part.images.length - 1);
      if (!$("gallery").dataset.firstMs) {
        $("gallery").dataset.firstMs = Math.round(performance.now() - since);
        if ($("gallery").getBoundingClientRect().top > innerHeight - 160) $("drop").scrollIntoView();
        sayFirst();
      }
    } else if (message.type === "step") {
      const numThere = drawing.parts.reduce((sum, part) => sum + part.images.length, 0);
      $("timing").textContent = `Step ${message.done} of ${message.steps}; ${numThere} of ${plural(drawing.options.num_images, "picture")} there.`;
    }
  }
}

function finish(failure) {
  const numImages = drawings.flatMap(({ parts }) => parts).reduce((sum, part) => sum + part.images.length, 0);
  $("again").disabled = !canDraw();
  $("download-all").disabled = !numImages;
  if (numImages) {
    const [{ name, options, parts }] = drawings;
    const of = drawings.length > 1 ? `${drawings.length} sounds` : parts.length > 1 ? `${parts.length} parts of ${name}` : name;
    say(`${plural(numImages, "picture")} of ${of} made with seed ${options.seed}.`);
    // Who sees reads this in the box below.
    const heard = heardIn(drawings.flatMap((drawing) => drawing.parts));
    if (heard) $("status").append(make("span", { className: "visually-hidden", textContent: ` ${heard}` }));
  } else {
    say("No pictures were made.");
    showNothing();
  }
  alertOf(failure);
}

/** Shows an entry of the history as it was. */
export function showEntry(entry) {
  abort.abort();
  alertOf(null);
  setOptions(entry.options);
  drawings = [entry];
  sounds = [{ id: entry.id, name: entry.name, blob: entry.sound }];
  $("timing").textContent = "";
  gallery.clear(entry.options.num_images, false);
  for (const part of entry.parts) {
    gallery.addPart(entry, part);
    part.images.forEach((_, index) => gallery.addImage(entry, part, index));
  }
  gallery.finish();
  showSound(entry);
  showFeatures(entry.parts[0]);
  showHeard(entry, model());
  pressExample(null);
  finish(null);
  if (!entry.sound) say(`${$("status").textContent} The sound itself was too long to be kept.`);
}

const canDraw = () => sounds.length > 0 && sounds.every(({ blob }) => blob);

/** New settings, same sounds: the pictures follow, and take the place of the old ones in the history. */
function redraw() {
  if (!sounds.length) return gallery.clear(drawOptions().num_images, false);
  clearTimeout(timer);
  if (canDraw() && !$("panel-draw").hidden) timer = setTimeout(() => draw(sounds, { isNew: false }), 120);
}

function pressExample(name) {
  for (const button of $("example").children) button.setAttribute("aria-pressed", button.dataset.example === name);
}

function drawFiles(files) {
  if (!files.length) return;
  pressExample(null);
  draw([...files].map((file) => ({ name: file.name, blob: file })));
}

async function startExamples() {
  const { examples } = await (await call("v1/examples")).json();
  $("example").replaceChildren(...examples.map((example) => {
    const { name, title } = example;
    const button = make("button", { type: "button", textContent: name.replace("-", " "), title });
    button.dataset.example = name;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", async () => {
      const since = performance.now();
      try {
        const sound = await fetchExample(example);
        // Words with silences between them are what the cutting is for.
        if (name === "phone-number") $("split").checked = true;
        pressExample(name);
        draw([sound], { since });
      } catch (error) {
        alertOf(error);
      }
    });
    return button;
  }));
  return examples;
}

function stopPlaying() {
  player.pause();
  player.removeAttribute("src");
  $("play").textContent = "Play";
}

function play() {
  if (player.src) {
    stopPlaying();
    paintLine($("waveform"), peaksOf(shown));
    return;
  }
  const url = URL.createObjectURL(shown.sound);
  player.src = url;
  $("play").textContent = "Stop";
  const follow = () => {
    if (player.src !== url) return URL.revokeObjectURL(url);
    paintLine($("waveform"), peaksOf(shown), { played: player.currentTime / player.duration || 0 });
    requestAnimationFrame(follow);
  };
  player.play().then(follow, () => {
    stopPlaying();
    alertOf(new Error("This browser cannot play this kind of sound; it was drawn all the same."));
  });
}

function startRecorder() {
  const button = $("record");
  const recorder = new Recorder({
    onState: (state) => {
      button.classList.toggle("on", state === "on");
      button.querySelector(".text").textContent = { off: "Record", opening: "Wait…", on: "Stop" }[state];
      $("level").hidden = $("level-word").hidden = state !== "on";
      if (state === "opening") { alertOf(null); stopPlaying(); $("play").hidden = true; }
      if (state === "on") { showCanvas(); $("waveform").setAttribute("aria-label", "Waveform of what is recorded"); say("Recording."); }
      if (state === "off") { showLevel($("level"), button, 0); if ($("status").textContent === "Recording.") say(""); }
    },
    onBlock: (level, peaks, seconds) => {
      const loudest = Math.max(...peaks);
      showLevel($("level"), button, level);
      $("level-word").textContent = loudest > 0.99 ? "too loud" : loudest < 0.03 ? "very quiet" : "good";
      $("sound-name").textContent = `${seconds.toFixed(1)} s`;
      paintLine($("waveform"), peaks, { filled: Math.min(1, seconds / 3), gain: 1 / Math.max(0.2, loudest) });
    },
    onSound: (sound, since) => { pressExample(null); draw([sound], { since }); },
    onError: (error) => { $("play").hidden = !shown?.sound; alertOf(error); },
  });
  button.addEventListener("click", () => recorder.toggle());
  return recorder;
}

/** Makes the tab work; returns what ends a recording, and the examples. */
export async function start() {
  const recorder = startRecorder();
  gallery.clear(drawOptions().num_images, false);
  for (const id of ["again", "download-all"]) $(id).disabled = true; // Firefox brings them back as they were before a reload
  $("file").addEventListener("change", () => { drawFiles($("file").files); $("file").value = ""; });
  $("again").addEventListener("click", () => draw(sounds));
  $("download-all").addEventListener("click", () => downloadAll(drawings));
  $("play").addEventListener("click", play);
  player.addEventListener("ended", play);
  onChange(redraw);
  let inside = 0;
  const isFiles = (event) => event.dataTransfer?.types.includes("Files") && !$("panel-draw").hidden;
  for (const [name, by] of [["dragenter", 1], ["dragleave", -1], ["dragover", 0], ["drop", -1]]) {
    window.addEventListener(name, (event) => {
      if (!isFiles(event)) return;
      event.preventDefault(); // else the browser would leave the page for the file
      inside = name === "drop" ? 0 : Math.max(0, inside + by);
      $("drop").classList.toggle("over", inside > 0);
      if (name === "drop") drawFiles(event.dataTransfer.files);
    });
  }
  window.addEventListener("resize", () => {
    if ($("panel-draw").hidden) return;
    gallery.lay();
    if (shown) paintLine($("waveform"), peaksOf(shown));
  });
  return { stop: () => recorder.stop(), examples: await startExamples() };
}
