// The settings: what the pictures are made with. Controls that the model does not have are not shown.
import { call, make } from "./api.js";

const $ = (id) => document.getElementById(id);
const OWN = ["guidance", "steps"]; // sent only when they were changed
const TEXTS = ["prompt", "negative"]; // sent only where there is one
const NEW_SEEDS = 1_000_000; // short enough to be read out
const listeners = new Set();
const onModels = new Set();
let models = [];
let isTyped = false; // a seed that was typed is used once, even if it is not kept

export const onChange = (listener) => listeners.add(listener);
/** Told when another model was chosen. */
export const onModel = (listener) => onModels.add(listener);
const tell = () => listeners.forEach((listener) => listener());
export const can = (what) => model()?.can.includes(what) ?? true;
export const model = () => models.find(({ name }) => name === $("model").value) ?? null;

function whole(input) {
  const value = Math.round(Number(input.value));
  const fixed = Math.min(Number(input.max), Math.max(Number(input.min), Number.isFinite(value) ? value : 0));
  input.value = fixed;
  return fixed;
}

/** The options of a request; `isNew` draws a new seed unless it is kept. */
export function options({ isNew = false } = {}) {
  if (isNew && !$("seed-lock").checked && !isTyped) {
    $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % NEW_SEEDS;
  }
  if (isNew) isTyped = false;
  const chosen = { seed: whole($("seed")) };
  if (model()) chosen.model = model().name;
  for (const name of model()?.controls ?? []) {
    const input = $(name);
    if (TEXTS.includes(name)) {
      if (input.value.trim()) chosen[name] = input.value.trim();
    } else if (name === "text_share") {
      if ($("prompt").value.trim() && Number(input.value)) chosen[name] = Number(input.value);
    } else if (input && (!OWN.includes(name) || input.dataset.changed)) chosen[name] = Number(input.value);
  }
  return chosen;
}

/** The options that only the Draw tab has. */
export function drawOptions(more) {
  const chosen = { ...options(more), num_images: whole($("num-images")) };
  if ($("split").checked && can("split")) chosen.split = true;
  return chosen;
}

/** Puts back the options that an entry of the history was made with. */
export function setOptions(chosen) {
  $("seed").value = chosen.seed;
  if (chosen.num_images) $("num-images").value = chosen.num_images;
  $("split").checked = Boolean(chosen.split);
  if (models.some(({ name }) => name === chosen.model)) $("model").value = chosen.model;
  for (const name of TEXTS) $(name).value = chosen[name] ?? "";
  $("text_share").value = chosen.text_share ?? 0;
  for (const name of ["variation", ...OWN]) {
    if (name in chosen) {
      $(name).value = chosen[name];
      $(name).dataset.changed = "yes";
    } else {
      reset(name);
    }
  }
  showModel();
}

function reset(name) {
  const input = $(name);
  input.value = input.defaultValue;
  delete input.dataset.changed;
}

function showModel() {
  const chosen = model();
  for (const field of document.querySelectorAll("[data-control]")) {
    field.hidden = !chosen?.controls.includes(field.dataset.control);
  }
  for (const field of document.querySelectorAll("[data-can]")) field.hidden = !can(field.dataset.can);
  // A model that follows no voice is one for any sound.
  for (const part of document.querySelectorAll("[data-spoken]")) part.hidden = (part.dataset.spoken === "yes") !== can("live");
  for (const name of OWN) {
    const isOwn = !$(name).dataset.changed;
    $(`${name}-value`).value = isOwn ? "the model’s own" : $(name).value;
    $(name).setAttribute("aria-valuetext", $(`${name}-value`).value);
    $(`${name}-reset`).hidden = isOwn;
  }
  for (const name of ["variation", "text_share"]) $(`${name}-value`).value = Number($(name).value);
  onModels.forEach((listener) => listener());
  if (!chosen) return;
  $("model-summary").textContent = chosen.summary;
  $("hears").textContent = chosen.hears ? `The model hears: ${chosen.hears.replace(/[.]$/, "")}.` : chosen.summary;
  const facts = [...(chosen.limits ?? []), ...(chosen.data ?? []).map((data) => `Learned from: ${data}`), chosen.licence && `Licence: ${chosen.licence}`];
  $("model-facts").replaceChildren(...facts.filter(Boolean).map((fact) => make("li", { textContent: fact })));
}

/** Asks the server for its models and makes everything work. */
export async function start() {
  for (const name of ["variation", "text_share", ...OWN]) {
    reset(name); // Firefox brings a number back after a reload, but not that it was changed
    $(name).addEventListener("input", () => { $(name).dataset.changed = "yes"; showModel(); });
    $(name).addEventListener("change", tell);
  }
  for (const name of OWN) {
    $(`${name}-reset`).addEventListener("click", () => { reset(name); showModel(); $(name).focus(); tell(); });
  }
  for (const [id, by] of [["num-less", -1], ["num-more", 1]]) {
    $(id).addEventListener("click", () => { $("num-images").value = Number($("num-images").value) + by; whole($("num-images")); tell(); });
  }
  $("seed").addEventListener("input", () => { isTyped = true; });
  for (const id of ["seed", "num-images"]) $(id).addEventListener("change", () => { whole($(id)); tell(); });
  for (const id of ["split", ...TEXTS]) $(id).addEventListener("change", tell);
  $("model").addEventListener("change", () => { showModel(); tell(); });
  const told = await (await call("v1/models")).json();
  $("num-images").max = told.max_images;
  whole($("num-images"));
  models = told.models.filter(({ image }) => image);
  $("model").replaceChildren(...models.map(({ name }) => make("option", { value: name, textContent: name })));
  $("model").value = (models.find((one) => one.default) ?? models[0])?.name ?? "";
  showModel();
}
