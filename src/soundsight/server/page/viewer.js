// One picture, large, with its facts; downloads of one and of all.
import { alertOf, make, save, show } from "./api.js";
import { describe, percent } from "./gallery.js";
import { zip } from "./zip.js";

const $ = (id) => document.getElementById(id);
const SIZES = [56, 112, 224, 512, 1024];
let pictures = []; // all of the board: {drawing, part, index}
let place = 0;

export const stemOf = (name) => name.replace(/\.[^.]{1,5}$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "-").slice(0, 80) || "sound";

const nameOf = (stem, part, index) => `${stem}${part.num_parts > 1 ? `-${part.part + 1}` : ""}_${index}`;
const bytesOf = ({ png }) => Uint8Array.from(atob(png), (c) => c.charCodeAt(0));

export function openViewer(drawings, drawing, part, index) {
  pictures = drawings.flatMap((d) => d.parts.flatMap((p) => p.images.map((_, i) => ({ drawing: d, part: p, index: i }))));
  place = pictures.findIndex((one) => one.drawing === drawing && one.part === part && one.index === index);
  turnTo();
  $("viewer").showModal();
}

function turnTo() {
  const { drawing, part, index } = pictures[place];
  const image = part.images[index];
  const { options } = drawing;
  show($("viewer-picture"), image, describe(drawing, part, index));
  $("viewer-title").textContent = `Picture ${index + 1} of ${drawing.name}`;
  const facts = {
    Part: part.num_parts > 1 ? `${part.part + 1} of ${part.num_parts}` : null,
    Heard: part.heard ? `${part.heard.label}, ${percent(part.heard.confidence)} sure` : null,
    "Unknown sound": part.heard ? `${percent(part.heard.outlier)} likely` : null,
    Seed: options.seed,
    Model: options.model,
    Variation: options.variation,
    Guidance: options.guidance,
    Steps: options.steps,
    Length: `${part.duration_s.toFixed(2)} s`,
    Pixels: `${image.width} × ${image.height}`,
    Made: new Date(drawing.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
  };
  $("viewer-facts").replaceChildren(
    ...Object.entries(facts).filter(([, fact]) => fact != null).flatMap(([name, fact]) => [make("dt", { textContent: name }), make("dd", { textContent: fact })]),
  );
  const own = Math.max(image.width, image.height);
  const chosen = Number($("download-size").value);
  const sizes = [own, ...SIZES.filter((size) => size > own)];
  $("download-size").replaceChildren(...sizes.map((size) => make("option", { value: size, textContent: size === own ? `${size} pixels, as made` : `${size} pixels` })));
  $("download-size").value = sizes.includes(chosen) ? chosen : sizes.includes(512) ? 512 : own;
  $("viewer-before").disabled = place === 0;
  $("viewer-after").disabled = place === pictures.length - 1;
}

function turn(by) {
  const next = place + by;
  if (next < 0 || next >= pictures.length) return;
  const hadFocus = document.activeElement;
  place = next;
  turnTo();
  if (hadFocus?.disabled) (hadFocus === $("viewer-before") ? $("viewer-after") : $("viewer-before")).focus();
}

async function downloadOne() {
  const { drawing, part, index } = pictures[place];
  const image = part.images[index];
  const size = Number($("download-size").value);
  const own = Math.max(image.width, image.height);
  const name = `${nameOf(stemOf(drawing.name), part, index)}${size === own ? "" : `_${size}`}.png`;
  if (size === own) return save(new Blob([bytesOf(image)], { type: "image/png" }), name);
  const canvas = make("canvas", { width: Math.round((image.width * size) / own), height: Math.round((image.height * size) / own) });
  const brush = canvas.getContext("2d");
  brush.imageSmoothingEnabled = !$("hard-pixels").checked;
  brush.imageSmoothingQuality = "high";
  brush.drawImage($("viewer-picture"), 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => save(blob, name), "image/png");
}

/** The pictures of all sounds on the board, as they are shown, in one ZIP. */
export function downloadAll(drawings) {
  const files = [];
  const stems = new Set();
  for (const { name, parts } of drawings) {
    let stem = stemOf(name);
    for (let i = 2; stems.has(stem); i++) stem = `${stemOf(name)}-${i}`; // two files of one name, from two folders
    stems.add(stem);
    for (const part of parts) part.images.forEach((image, index) => files.push({ name: `${nameOf(stem, part, index)}.png`, bytes: bytesOf(image) }));
  }
  const [{ name, options }] = drawings;
  save(zip(files), `${drawings.length > 1 ? "pictures" : stemOf(name)}-seed-${options.seed}.zip`);
}

export function start() {
  const viewer = $("viewer");
  $("viewer-before").addEventListener("click", () => turn(-1));
  $("viewer-after").addEventListener("click", () => turn(1));
  $("viewer-close").addEventListener("click", () => viewer.close());
  $("download-one").addEventListener("click", () => downloadOne().catch(alertOf));
  $("hard-pixels").addEventListener("change", () => document.body.classList.toggle("pixels", $("hard-pixels").checked));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLSelectElement) return;
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });
}
