// What was drawn before, kept in this browser: in IndexedDB, or for as long as the page lives where that is forbidden.

const MOST = 50;
const LARGEST_BYTES = 4 * 2 ** 20;
const MOST_BYTES = 64 * 2 ** 20; // of all of it: large pictures push older ones out

let entries = []; // newest first
let database = null;
let loaded = null;
const listeners = new Set();

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("soundsight", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("sounds", { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function store(change) {
  if (!database) return;
  try {
    const transaction = database.transaction("sounds", "readwrite");
    transaction.onabort = () => console.warn("The history cannot be kept:", transaction.error);
    change(transaction.objectStore("sounds"));
    transaction.commit?.(); // else it is undone where the page is left at once
  } catch (error) {
    console.warn("The history cannot be kept:", error);
  }
}

/** Reads what is kept; once. */
export function load() {
  loaded ??= (async () => {
    try {
      database = await open();
      const kept = await new Promise((resolve, reject) => {
        const request = database.transaction("sounds").objectStore("sounds").getAll();
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
      entries = [...entries, ...kept].sort((a, b) => b.time - a.time);
    } catch {
      database = null;
    }
    tell();
  })();
  return loaded;
}

export const isKept = () => database !== null;
export const all = () => entries;
export const find = (id) => entries.find((entry) => entry.id === id);
export const onChange = (listener) => listeners.add(listener);
const tell = () => listeners.forEach((listener) => listener(entries));

const sizeOf = ({ sound, parts }) => parts.flatMap(({ images }) => images).reduce((sum, { png }) => sum + png.length, sound?.size ?? 0);

/** Adds an entry, or puts it in the place of the one with its id. */
export async function put(entry) {
  await load();
  // A Blob of a chosen file is only a reference to it; the bytes are what stays.
  const fits = entry.sound && entry.sound.size <= LARGEST_BYTES;
  const kept = { ...entry, sound: fits ? new Blob([await entry.sound.arrayBuffer()], { type: entry.sound.type }) : null };
  entries = [kept, ...entries.filter((other) => other.id !== kept.id)];
  const gone = entries.splice(MOST);
  let bytes = 0;
  const most = entries.findIndex((one, i) => { bytes += sizeOf(one); return i && bytes > MOST_BYTES; });
  if (most > 0) gone.push(...entries.splice(most));
  store((sounds) => {
    sounds.put(kept);
    gone.forEach(({ id }) => sounds.delete(id));
  });
  tell();
}

export function remove(id) {
  entries = entries.filter((entry) => entry.id !== id);
  store((sounds) => sounds.delete(id));
  tell();
}

/** Forgets all; returns what was there. */
export function clear() {
  const gone = entries;
  entries = [];
  store((sounds) => sounds.clear());
  tell();
  return gone;
}

export function restore(gone) {
  entries = [...entries, ...gone].slice(0, MOST);
  store((sounds) => entries.forEach((entry) => sounds.put(entry)));
  tell();
}
