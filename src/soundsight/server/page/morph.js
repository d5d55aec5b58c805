// The Morph tab: pictures on the way from one sound to another, under a slider.
import { alertOf, call, fetchExample, lines, make, pngUrl, save, show } from "./api.js";
import * as history from "./history.js";
import { Recorder } from "./microphone.js";
import { options } from "./settings.js";
import { stemOf } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const FRAMES_PER_S = 12;
const WITH_FRAMES = ["morph-slider", "morph-play", "morph-gif"];
const own = { a: null, b: null }; // sounds that were recorded or chosen here: {name, blob}
let examples = [];
let frames = []; // {place, png}
let made = null; // what they were made of
let abort = new AbortController();
let timer = 0;

function fillChoices(end, wanted) {
  const select = $(`morph-${end}`);
  const before = wanted ?? select.value;
  const groups = [];
  const group = (label, choices) => choices.length && groups.push(make("optgroup", { label }, ...choices.map(([value, text]) => make("option", { value, textContent: text }))));
  if (own[end]) group("Here", [["own", own[end].name]]);
  group("Examples", examples.filter(({ name }) => name !== "phone-number").map(({ name }) => [name, name]));
  group("History", history.all().filter(({ sound }) => sound).map(({ id, name, time }) => [`history:${id}`, `${name}, ${new Date(time).toLocaleTimeString([], { timeStyle: "short" })}`]));
  select.replaceChildren(...groups);
  select.value = before;
  if (select.selectedIndex < 0) select.value = end === "a" ? "three" : "eight";
}

async function soundOf(end) {
  const { value } = $(`morph-${end}`);
  if (value === "own") return own[end];
  if (value.startsWith("history:")) {
    const { name, sound } = history.find(value.slice(8));
    return { name, blob: sound };
  }
  return fetchExample(examples.find(({ name }) => name === value));
}

function startEnd(end) {
  const take = (sound) => { own[end] = sound; fillChoices(end, "own"); };
  const file = $(`morph-${end}-file`);
  $(`morph-${end}-choose`).addEventListener("click", () => file.click());
  file.addEventListener("change", () => { if (file.files[0]) take({ name: file.files[0].name, blob: file.files[0] }); file.value = ""; });
  const button = $(`morph-${end}-record`);
  const time = make("span");
  time.setAttribute("aria-hidden", "true"); // else it would be read out with each change
  const recorder = new Recorder({
    onState: (state) => {
      time.textContent = "";
      button.replaceChildren({ off: "Record", opening: "Wait…", on: "Stop" }[state], time);
      button.classList.toggle("strong", state === "on");
      if (state === "on") $("morph-status").textContent = "Recording.";
    },
    onBlock: (level, peaks, seconds) => { time.textContent = `, ${seconds.toFixed(1)} s`; },
    onSound: (sound) => { take(sound); $("morph-status").textContent = "Recorded."; },
    onError: alertOf,
  });
  button.addEventListener("click", () => { alertOf(null); recorder.toggle(); });
  return recorder;
}

async function go() {
  pause();
  abort.abort();
  const { signal } = (abort = new AbortController());
  alertOf(null);
  const say = (text) => { $("morph-status").textContent = text; };
  try {
    const wanted = { sounds: { first: await soundOf("a"), second: await soundOf("b") }, options: options({ isNew: true }) };
    say("Drawing.");
    const onWait = (seconds) => say(`The server is busy. Trying once more in ${seconds} s.`);
    for await (const message of lines("v1/morphs", { query: { ...wanted.options, format: "ndjson" }, sounds: wanted.sounds, signal, onWait })) {
      if (signal.aborted) return;
      if (message.type !== "image") continue;
      if (made !== wanted) { // what is there works until then, or where nothing comes
        made = wanted;
        frames = [];
        $("morph-film").replaceChildren();
      }
      frames.push(message);
      $("morph-film").append(make("img", { src: pngUrl(message.png), alt: "" }));
      $("morph-slider").value = Math.round(100 * message.place);
      turnTo();
      if (frames.length === 1) document.querySelector(".scrub").scrollIntoView({ block: "nearest" });
    }
    for (const id of WITH_FRAMES) $(id).disabled = false;
    say(`${frames.length} pictures from ${made.sounds.first.name} to ${made.sounds.second.name} made with seed ${made.options.seed}.`);
  } catch (error) {
    if (signal.aborted) return;
    say("");
    alertOf(error);
  }
}

/** The picture nearest to where the slider is. */
function turnTo() {
  if (!frames.length) return;
  const slider = $("morph-slider");
  const place = slider.value / 100;
  const nearest = frames.reduce((best, frame, i) => (Math.abs(frame.place - place) < Math.abs(frames[best].place - place) ? i : best), 0);
  const where = `${slider.value} % of the way from ${made.sounds.first.name} to ${made.sounds.second.name}`;
  show($("morph-picture"), frames[nearest], `Picture ${where}`);
  $("morph-idle").hidden = true;
  slider.setAttribute("aria-valuetext", where);
  $("morph-place").value = `${slider.value} %`;
  [...$("morph-film").children].forEach((image, i) => image.classList.toggle("now", i === nearest));
}

export function pause() {
  clearInterval(timer);
  timer = 0;
  $("morph-play").textContent = "Play";
}

function play() {
  if (timer) return pause();
  const slider = $("morph-slider");
  let step = 100 / Math.max(1, frames.length - 1);
  let place = Number(slider.value);
  $("morph-play").textContent = "Pause";
  timer = setInterval(() => {
    if (place + step > 100.01 || place + step < -0.01) step = -step; // there and back
    place = Math.min(100, Math.max(0, place + step));
    slider.value = Math.round(place);
    turnTo();
  }, 1000 / FRAMES_PER_S);
}

async function download() {
  const query = { ...made.options, format: "gif", size: 224 };
  const response = await call("v1/morphs", { query, sounds: made.sounds });
  save(await response.blob(), `${stemOf(made.sounds.first.name)}-to-${stemOf(made.sounds.second.name)}.gif`);
}

/** Makes the tab work; returns what ends recordings and films when the tab is left. */
export function start(known) {
  examples = known;
  const recorders = ["a", "b"].map(startEnd);
  for (const id of WITH_FRAMES) $(id).disabled = true; // Firefox brings them back as they were before a reload
  $("morph-slider").value = 0;
  const fill = () => { fillChoices("a"); fillChoices("b"); };
  history.onChange(fill);
  fill();
  $("morph-go").addEventListener("click", go);
  $("morph-slider").addEventListener("input", () => { pause(); turnTo(); });
  $("morph-play").addEventListener("click", play);
  $("morph-gif").addEventListener("click", () => download().catch(alertOf));
  return { stop: () => { pause(); recorders.forEach((recorder) => recorder.stop()); } };
}
