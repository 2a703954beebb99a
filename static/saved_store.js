// The visitor's own dishes, remembered in this browser and nowhere else.
export const KEY = "dishes";
const MOST = 60;

/** The remembered dishes, the latest first: {query, title}. */
export function kept() {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(list) ? list.filter((one) => typeof one?.query === "string") : [];
  } catch {
    return []; // storage that is forbidden, or written by someone else
  }
}

function store(list) {
  try {
    localStorage.setItem(KEY, JSON.stringify(list));
  } catch {
    // full or forbidden: nothing is remembered then
  }
}

/** Remembers a dish by its canonical query; one that is known already comes to the front. */
export function keep(query, title) {
  store([{ query, title }, ...kept().filter((one) => one.query !== query)].slice(0, MOST));
}

/** Forgets one dish, or all of them. */
export function forget(query = null) {
  store(query === null ? [] : kept().filter((one) => one.query !== query));
}
