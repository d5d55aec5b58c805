// The board of pictures: places for those that are to come, pictures as they come, grouped by sound and part.
import { make, show } from "./api.js";

const $ = (id) => document.getElementById(id);

export const percent = (share) => `${Math.round(100 * share)} %`;
const tileFor = (count) => (count <= 5 ? 144 : count <= 12 ? 120 : count <= 24 ? 100 : 68);

/** What a picture is, in words. */
export function describe(drawing, part, index) {
  const of = part.num_parts > 1 ? `part ${part.part + 1} of ${drawing.name}` : drawing.name;
  const heard = part.heard ? (part.heard.outlier > 0.5 ? ", heard as none of the sounds it knows" : `, heard as ${part.heard.label}`) : "";
  return `Picture ${index + 1} of ${of}, seed ${drawing.options.seed}${heard}`;
}

/** A part's heading: what it is, and what was heard where the model says. */
function titleOf(drawing, part, isOneOfMany) {
  const words = [];
  if (isOneOfMany) words.push(drawing.name);
  if (part.num_parts > 1) words.push(`Part ${part.part + 1}`);
  if (part.heard && words.length) {
    const { label, confidence, outlier } = part.heard;
    words.push(outlier > 0.5 ? "probably none it knows" : `“${label}”, ${percent(confidence)}`);
  }
  return words.join(" · ");
}

export class Gallery {
  /** `handlers`: onOpen(drawing, part, index), onLook(drawing, part). */
  constructor(handlers) {
    this.root = $("gallery");
    this.handlers = handlers;
    this.groups = new WeakMap(); // of each part
  }

  /** Takes all away and shows where pictures will be. */
  clear(numImages, isBusy = true, numSounds = 1) {
    this.numImages = numImages;
    this.numSounds = numSounds;
    this.root.classList.remove("short");
    this.root.classList.toggle("busy", isBusy);
    this.lay(numImages, numImages);
    this.root.replaceChildren(...this.#places());
  }

  /** As many columns as fit, with rows that are equally full; many pictures in `total` are small ones. */
  lay(count = this.count, total = this.total) {
    Object.assign(this, { count, total });
    const width = this.root.parentElement.clientWidth;
    const most = Math.max(2, Math.floor(width / tileFor(total)));
    const numColumns = Math.ceil(count / Math.ceil(count / most));
    this.root.style.setProperty("--columns", numColumns);
    this.root.style.setProperty("--grow", Math.min(1.8, Math.max(1.12, 140 / (width / numColumns))));
  }

  #places() {
    return Array.from({ length: this.numImages }, () => {
      const place = make("div", { className: "empty" });
      place.setAttribute("aria-hidden", "true");
      return place;
    });
  }

  /** Begins the pictures of a part. */
  addPart(drawing, part) {
    const isOneOfMany = this.numSounds > 1;
    const isFirst = !this.root.querySelector(".part");
    if (isFirst) this.root.replaceChildren();
    const isShort = this.numImages === 1 && (part.num_parts > 1 || isOneOfMany);
    this.root.classList.toggle("short", isShort);
    const numGroups = Math.max(part.num_parts, this.numSounds);
    if (isShort) this.lay(numGroups, numGroups);
    else if (isFirst && part.num_parts > 1) this.lay(this.numImages, this.numImages * part.num_parts);
    const group = make("div", { className: "part" });
    const title = titleOf(drawing, part, isOneOfMany);
    if (title) {
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", title);
      group.append(make("p", { className: "part-title", textContent: title }));
    }
    group.append(...this.#places());
    this.root.append(group);
    this.groups.set(part, group);
  }

  /** Shows a picture in the next free place of its part. */
  addImage(drawing, part, index) {
    const image = part.images[index];
    const picture = show(make("img"), image, describe(drawing, part, index));
    const button = make("button", { className: "picture", type: "button" }, picture);
    button.dataset.index = index;
    button.dataset.part = part.part;
    button.addEventListener("click", () => this.handlers.onOpen(drawing, part, index));
    for (const event of ["focus", "mouseenter"]) button.addEventListener(event, () => this.handlers.onLook(drawing, part));
    const group = this.groups.get(part);
    const place = group.querySelector(".empty");
    if (place) place.replaceWith(button);
    else group.append(button);
  }

  /** No more are to come: empty places go away. */
  finish() {
    this.root.classList.remove("busy");
    if (this.root.querySelector(".picture")) this.root.querySelectorAll(".empty").forEach((place) => place.remove());
  }
}

/** What was heard in parts, in one short sentence for a screen reader; empty where the model does not say. */
export function heardIn(parts) {
  const heard = parts.filter((part) => part.heard).map((part) => part.heard);
  const numStrangers = heard.filter(({ outlier }) => outlier > 0.5).length;
  if (!heard.length) return "";
  if (heard.length === 1) return numStrangers ? "It is probably none of the sounds that the model knows." : `Heard “${heard[0].label}”, ${percent(heard[0].confidence)} sure.`;
  const labels = heard.map(({ label, outlier }) => (outlier > 0.5 ? "unknown" : label)).join(", ");
  return `Heard: ${labels}.${numStrangers ? ` ${numStrangers} of ${heard.length} are probably none of the sounds that the model knows.` : ""}`;
}

/** Says plainly what the model heard, or that it does not say. */
export function showHeard(drawing, model) {
  const box = $("heard");
  box.hidden = false;
  box.classList.remove("warn");
  const knows = (model?.hears || model?.labels?.join(", ") || "what it was trained on").replace(/[.]$/, "");
  const says = drawing.parts.filter((part) => part.heard);
  if (!says.length) {
    if (model && !model.can.includes("live")) { // one for any sound
      box.replaceChildren(make("p", {}, make("strong", { textContent: "This model does not say what it heard." }), ` ${model.limits?.[0] ?? "It paints what the sound is most like of all that it learned."}`));
      return;
    }
    box.replaceChildren(
      make("p", {}, make("strong", { textContent: "This model does not say what it heard." }), model?.hears || !model?.limits?.length ? ` It knows: ${knows}. Any other sound gives a picture too, and it means nothing.` : ` ${model.limits[0]}`),
    );
    return;
  }
  const strangers = says.filter((part) => part.heard.outlier > 0.5);
  const { label, confidence, outlier } = says[0].heard;
  const lines = [];
  if (says.length > 1) {
    lines.push(make("p", {}, make("strong", { textContent: `Heard: ${says.map((part) => (part.heard.outlier > 0.5 ? "?" : part.heard.label)).join(" ")}` }), "."));
  } else if (!strangers.length) {
    lines.push(make("p", {}, make("strong", { textContent: `Heard “${label}”, ${percent(confidence)} sure` }), `${confidence < 0.6 ? "; that is not much" : ""}. ${percent(outlier)} likely that it is none of the sounds it knows.`));
  }
  if (strangers.length) {
    box.classList.add("warn");
    lines.push(
      says.length > 1
        ? make("p", {}, make("strong", { textContent: "Careful: " }), `${strangers.length} of ${says.length} parts are probably none of the sounds that the model knows (${knows}). Their pictures mean nothing.`)
        : make("p", {}, make("strong", { textContent: "This is probably none of the sounds that the model knows" }), ` (${percent(outlier)} likely). It knows: ${knows}. The picture means nothing; the nearest would be “${label}”.`),
    );
  }
  box.replaceChildren(...lines);
}
