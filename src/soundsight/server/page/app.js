// The page: its tabs, its history, and the start of everything.
import { alertOf, make, pngUrl } from "./api.js";
import * as draw from "./draw.js";
import * as history from "./history.js";
import * as live from "./live.js";
import * as morph from "./morph.js";
import * as settings from "./settings.js";
import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);
const TABS = ["draw", "live", "morph"];
const isThere = (tab) => tab === "draw" || settings.can(tab);
const leaving = {}; // what is to be stopped when a tab is left

function showTab(name, hasFocus = false) {
  for (const one of TABS) {
    const isShown = one === name;
    if (!isShown && !$(`panel-${one}`).hidden) leaving[one]?.();
    $(`panel-${one}`).hidden = !isShown;
    $(`tab-${one}`).setAttribute("aria-selected", isShown);
    $(`tab-${one}`).tabIndex = isShown ? 0 : -1;
    if (isShown && hasFocus) $(`tab-${one}`).focus();
  }
  document.querySelectorAll(".draw-only").forEach((field) => { field.hidden = name !== "draw"; });
  document.title = `${name[0].toUpperCase()}${name.slice(1)} – soundsight`;
}

function startTabs() {
  const fromAddress = () => {
    const wanted = location.hash.slice(1);
    showTab(TABS.includes(wanted) && isThere(wanted) ? wanted : "draw");
  };
  const go = (name, hasFocus) => {
    window.history.replaceState(null, "", `#${name}`);
    showTab(name, hasFocus);
  };
  TABS.forEach((name) => {
    $(`tab-${name}`).addEventListener("click", () => go(name));
    $(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      const tabs = TABS.filter(isThere);
      const here = tabs.indexOf(name);
      const next = { ArrowRight: here + 1, ArrowLeft: here - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
      if (next !== undefined) go(tabs[next % tabs.length], true);
    });
  });
  // A model need not do all of it.
  settings.onModel(() => {
    for (const one of TABS) $(`tab-${one}`).hidden = !isThere(one);
    const shown = TABS.find((one) => !$(`panel-${one}`).hidden);
    if (!isThere(shown)) go("draw");
  });
  window.addEventListener("hashchange", fromAddress);
  fromAddress();
  return go;
}

function startHistory(go) {
  let gone = [];
  const ask = (entries) => {
    $("history").replaceChildren(...entries.map((entry) => entryOf(entry, go)));
    $("history-clear").disabled = !entries.length;
    if (entries.length) $("history-undo").hidden = true;
    $("history-help").textContent = !entries.length
      ? "Nothing yet. Sounds and their pictures will be kept here, in this browser and nowhere else."
      : history.isKept()
        ? "The last sounds and their pictures, 50 at most. They stay in this browser."
        : "This browser keeps nothing for this page: the history ends when the page is closed.";
  };
  history.onChange(ask);
  ask([]);
  history.load();
  $("history-clear").addEventListener("click", () => {
    gone = history.clear();
    $("history-undo").hidden = false;
    $("history-undo").focus();
  });
  $("history-undo").addEventListener("click", () => {
    history.restore(gone);
    $("history-clear").focus();
  });
}

function entryOf(entry, go) {
  const { id, name, options, parts, time } = entry;
  const images = parts.flatMap((part) => part.images);
  const thumbs = make("span", { className: "thumbs" }, ...images.slice(0, images.length < 4 ? 1 : 4).map(({ png }) => make("img", { src: pngUrl(png), alt: "" })));
  const when = new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
  const count = `${images.length} picture${images.length === 1 ? "" : "s"}`;
  const text = make("span", { className: "about" }, make("span", { className: "name", textContent: name }), make("span", { className: "small", textContent: `${count}, seed ${options.seed}, ${when}` }));
  const restore = make("button", { type: "button", className: "restore" }, thumbs, text);
  restore.addEventListener("click", () => {
    go("draw");
    draw.showEntry(entry);
    $("drop").scrollIntoView();
    document.querySelector("#gallery .picture").focus({ preventScroll: true }); // their number is said as any other
  });
  const remove = make("button", { type: "button", className: "remove", textContent: "×" });
  remove.setAttribute("aria-label", `Delete ${name}, seed ${options.seed}, ${when}`);
  remove.addEventListener("click", () => {
    const items = $("history").children;
    const index = [...items].indexOf(item);
    history.remove(id);
    (items[Math.min(index, items.length - 1)]?.querySelector(".remove") ?? $("history-title")).focus();
  });
  const item = make("li", {}, restore, remove);
  item.dataset.id = id;
  return item;
}

async function start() {
  const go = startTabs();
  viewer.start();
  live.start();
  leaving.live = live.end;
  startHistory(go);
  // Apart from each other: what works shall work, even if a part of the server does not.
  const ready = settings.start();
  const { stop, examples } = await draw.start();
  leaving.draw = stop;
  leaving.morph = morph.start(examples).stop;
  await ready;
  document.body.dataset.ready = "yes";
}

start().catch(alertOf);
