// The seat at the counter. Every control is a link or a form that leads to another dish; this script fetches that
// page, lays its sketch at once, and puts the new controls where the old ones were.
import { arrived, Refused } from "./api.js";
import { compare } from "./png_import.js";
import { say, tell } from "./status.js";
import { text } from "./texts.js";

const { root, pictures, picture: side, sketch: sketchSide } = document.documentElement.dataset;
const MOST_LIVE_MS = 60; // between two sketches while a slider is dragged, so that the kitchen can breathe

let counter = document.getElementById("counter");
let shownAt = pageAddress();
let leaving = new AbortController();
let taps = []; // on − and ＋ while a page is on its way: they are meant for the dish that it brings
let released = Promise.resolve(); // the pointer, whose press may have ended a box: its click comes after the dish was asked for
let settling = null; // address of a name that was typed: any tap meanwhile is meant for its dish
let going = Promise.resolve(); // to the dish that was asked for last
let place = history.state?.place ?? 0; // in this sitting, for undoing
let last = place; // that can be redone
let before = null; // address of the picture before this one

/** The address without the part of the page that it may point at, as the skip link's does. */
function pageAddress() {
  return location.href.split("#")[0];
}

/** The picture of the dish that a page shows. */
function pictureOf(address, size) {
  const url = new URL(address, location.href);
  url.pathname = pictures;
  url.hash = "";
  for (const key of ["child", "pantry", "nearest", "model", "shared"]) url.searchParams.delete(key);
  if (size) url.searchParams.set("size", size);
  return url;
}

/** Where a form leads. An `amount` of a `word` is its weight in the mix, which needs no detour by the server. */
function addressOf(form) {
  const data = new FormData(form);
  const [word, amount] = [data.get("word"), data.get("amount")];
  if (amount !== null) for (const key of ["word", "amount"]) data.delete(key);
  const fields = [...data]
    .filter(([, value]) => value !== "")
    .map(([key, value]) => {
      const other = key !== "mix" || amount === null || value.slice(value.indexOf(":") + 1) !== word;
      return [key, other ? value : `${amount}:${word}`];
    });
  const url = new URL(form.action, location.href);
  url.search = new URLSearchParams(fields);
  return url;
}

/** A sketch, ready to be shown; fails where it cannot be had. */
async function load(address) {
  const image = new Image(side, side);
  image.className = "sketch";
  image.alt = "";
  image.src = address;
  await image.decode();
  return image;
}

addEventListener(
  "pointerdown",
  () => {
    released = new Promise((resolve) => {
      for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(resolve), { once: true });
    });
  },
  true,
);

function plate() {
  return counter.querySelector(".seat .dish");
}

function uncover() {
  for (const old of plate().querySelectorAll(".live")) old.remove();
}

function lay(image) {
  uncover();
  plate().append(image);
}

// Scrubbing: one sketch in the making, and the last wish; none any more once a dish is settled.
let making = false;
let wish = null;

async function scrub(address) {
  wish = address;
  if (making) return;
  making = true;
  while (wish) {
    const wanted = wish;
    const began = performance.now();
    try {
      const image = await load(pictureOf(wanted, sketchSide));
      image.classList.add("live");
      if (wish) lay(image);
    } catch {
      // a name half typed, or a busy kitchen: the next movement asks again
    }
    if (wish === wanted) wish = null;
    const left = MOST_LIVE_MS - (performance.now() - began);
    if (wish && left > 0) await new Promise((resolve) => setTimeout(resolve, left));
  }
  making = false;
}

/** Where a control, or its like on the page that follows, is in the window; null where there is none. */
function placeOf(control) {
  return document.getElementById(control?.id)?.getBoundingClientRect().top ?? null;
}

/** Serves the dish at `address` in place of this one. The `control` that led there stays put, for the next tap;
 * `typed` is for a name that was written into a box, which a tap on another control has ended. */
function go(address, options = {}) {
  return (going = fetchDish(String(address), options));
}

async function fetchDish(address, { push = true, control = null, further = [], typed = false }) {
  leaving.abort();
  const { signal } = (leaving = new AbortController());
  stop();
  wish = null;
  taps = further;
  settling = typed ? address : null;
  counter.setAttribute("aria-busy", "true");
  try {
    const sketch = load(pictureOf(address, sketchSide)).catch(() => null);
    const response = await fetch(address, { headers: { Accept: "text/html" }, signal });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const next = page.getElementById("counter");
    if (!next) {
      const refused = new Refused(response, page.querySelector(".apology p")?.textContent);
      if (await patience(refused, signal)) return go(address, { push, control, further: taps, typed });
      return;
    }
    const shown = next.querySelector(".seat .picture");
    const changed = next.dataset.query !== counter.dataset.query;
    const image = await sketch;
    await released; // a control that is replaced under the finger gets no click
    if (signal.aborted) return;
    if (image && changed) shown.before(image);
    if (changed) before = plate().querySelector(".picture").src;
    const open = document.getElementById("more").open;
    const focused = document.activeElement;
    const at = counter.contains(focused) ? focused.id : null;
    const selection = at && focused.type === "text" ? [focused.selectionStart, focused.selectionEnd] : null;
    const stayed = placeOf(control);
    counter.replaceWith(next);
    counter = next;
    document.getElementById("more").open ||= open;
    document.title = page.title;
    document.querySelector(".languages").replaceWith(page.querySelector(".languages"));
    // A form's fields come in another order than the dish's own address has.
    const settled = changed ? new URL(next.dataset.address, location.href).href : response.url;
    if (push && changed) {
      last = ++place;
      history.pushState({ place }, "", settled);
    } else if (push) history.replaceState({ place }, "", settled); // nothing to undo
    shownAt = pageAddress();
    arrange();
    if (changed) document.getElementById("made-by")?.remove(); // this dish is by the model that serves
    if (at !== null) {
      const again = document.getElementById(at) ?? document.getElementById("dish-heading");
      if (again.id === "dish-heading") again.tabIndex = -1;
      again.focus({ preventScroll: true });
      if (selection && again.type === "text") again.setSelectionRange(...selection);
    }
    const after = placeOf(control);
    if (stayed !== null && after !== null) scrollBy({ top: after - stayed, behavior: "instant" });
    const { hash } = new URL(address, location.href);
    if (hash) document.getElementById(hash.slice(1))?.scrollIntoView({ block: "nearest" });
    const tapped = document.getElementById(taps[0]);
    if (tapped) return go(tapped.href, { control: tapped, further: taps.slice(1) });
    if (changed) await finished(shown, signal);
  } catch {
    if (!signal.aborted) say(text("offline")); // the browser's own words are in English
  } finally {
    if (!signal.aborted) {
      counter.removeAttribute("aria-busy");
      settling = null;
    }
  }
}

/** Says what the kitchen has answered, and waits as long as it asks for; whether to ask it again. */
async function patience({ message, retryAfter }, signal) {
  if (retryAfter === null) {
    say(message);
    return false;
  }
  say(`${message} ${text("retrying", { seconds: retryAfter })}`);
  await new Promise((resolve) => setTimeout(resolve, retryAfter * 1000));
  return !signal.aborted;
}

/** Waits for the picture; where the kitchen is full, asks again when it says. */
async function finished(picture, signal) {
  const { title } = counter.dataset;
  for (;;) {
    tell(text("making", { name: title }));
    try {
      await arrived(picture, signal);
      break;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!(await patience(error, signal))) return;
    }
  }
  if (!signal.aborted) tell(text("redrawn", { name: title }));
}

// The picture before this one, for as long as the button is held.
function showBefore() {
  if (!before || plate().querySelector(".before")) return;
  const image = new Image(side, side);
  image.className = "before";
  image.alt = "";
  image.src = before;
  plate().append(image);
}

function hideBefore() {
  for (const image of plate().querySelectorAll(".before")) image.remove();
}

document.addEventListener("pointerdown", (event) => event.target.closest("#compare") && showBefore());
for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, hideBefore);
document.addEventListener("contextmenu", (event) => event.target.closest("#compare") && event.preventDefault());
document.addEventListener("keydown", (event) => {
  const held = event.key === " " || event.key === "Enter";
  if (held && event.target.id === "compare") showBefore();
});
document.addEventListener("hold", showBefore);
document.addEventListener("keyup", hideBefore);

// On a narrow screen the plate follows, small, once it has been scrolled away.
const away = new IntersectionObserver(([entry]) => {
  counter.querySelector(".stand").classList.toggle("away", !entry.isIntersecting && entry.boundingClientRect.top < 0);
}, { rootMargin: "-33% 0px 0px" });

// The morph, played back and forth by hand's leave only.
let playing = null;

function stop() {
  if (playing === null) return;
  clearInterval(playing);
  playing = null;
  const button = document.getElementById("play");
  if (button) button.textContent = button.dataset.play;
}

function play(button) {
  const slider = document.getElementById("t");
  // Stops it, and settles on what is shown.
  if (playing !== null) return go(addressOf(slider.form).href, { control: button });
  button.dataset.play ??= button.textContent;
  counter.querySelector(".stand:not(.away)")?.scrollIntoView({ block: "nearest" }); // to be seen whole
  button.textContent = button.dataset.stop;
  let step = 0.04;
  playing = setInterval(() => {
    const t = Number(slider.value);
    if ((t >= 1 && step > 0) || (t <= 0 && step < 0)) step = -step;
    slider.value = t + step;
    scrub(addressOf(slider.form));
  }, 90);
}

function arrange() {
  const button = document.getElementById("play");
  if (button) button.hidden = false;
  for (const form of counter.querySelectorAll("form.live")) form.dataset.served = addressOf(form);
  document.getElementById("undo").disabled = place === 0;
  document.getElementById("redo").disabled = place >= last;
  document.getElementById("compare").disabled = !before;
  away.disconnect();
  away.observe(counter.querySelector(".stand"));
  document.dispatchEvent(new Event("arranged")); // for the list of keys
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("#counter a");
  if (event.target.id === "play") play(event.target);
  if (event.target.closest("#undo")) history.back();
  if (event.target.closest("#redo")) history.forward();
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  const keeps = link.matches(".save, .permalink");
  if (keeps && (playing !== null || counter.ariaBusy === "true")) {
    // What is kept is what is on the plate: the dish that it is becoming.
    event.preventDefault();
    event.stopImmediatePropagation();
    const settled = playing === null ? going : play(document.getElementById("play"));
    settled.then(() => counter.querySelector(link.matches(".save") ? ".save" : ".permalink").click());
  } else if (keeps || link.target) {
    // of another module, or another site
  } else if (url.pathname.endsWith("/dish")) {
    event.preventDefault();
    if (counter.ariaBusy === "true" && link.id && (settling || /-(less|more)$/.test(link.id))) taps.push(link.id);
    else go(link.href, { control: link }); // which Safari does not focus
  }
});

document.addEventListener("submit", (event) => {
  if (!event.target.closest("#counter")) return;
  event.preventDefault();
  const url = addressOf(event.target);
  const into = url.searchParams.has("to") || url.searchParams.has("to_seed");
  if (event.target.id === "morph" && !document.getElementById("t") && !into) {
    document.getElementById("to").focus();
    return;
  }
  if (event.submitter?.name) url.searchParams.append(event.submitter.name, event.submitter.value);
  if (settling === url.href) return; // Enter ends a box, which has asked for the dish already
  go(url.href, { control: event.target.querySelector("input[id]") });
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("#counter form.live");
  if (!form) return;
  stop();
  const amount = form.querySelector(".amount");
  if (amount) amount.textContent = `${event.target.value > 0 ? "+" : ""}${event.target.value.replace("-", "−")}`;
  const address = addressOf(form);
  if (address.href === form.dataset.served) {
    wish = null; // back where it began, which changes nothing: no other event will say so
    uncover();
  } else if (form.checkValidity()) scrub(address);
});

// A slider that was let go, a number, and a name whose box was left: what is on the plate becomes the dish.
document.addEventListener("change", ({ target }) => {
  const typed = ["rename", "to"].includes(target.id);
  if (!typed && target.type !== "range" && target.id !== "seed") return;
  const form = target.closest("#counter form.live");
  if (!form?.checkValidity()) return;
  const { href } = addressOf(form);
  if (!typed || href !== form.dataset.served) go(href, { control: target, typed });
});

// Enter that settles an input method's candidate redraws nothing for good (see page.js).
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.isComposing || event.keyCode === 229)) event.preventDefault();
});

addEventListener("popstate", ({ state }) => {
  if (pageAddress() === shownAt) return;
  place = state?.place ?? 0;
  go(location.href, { push: false });
});

/** Waits for the picture that is part of the page, which a full kitchen may have refused. */
async function arrive(picture, signal) {
  if ((await picture.decode().then(() => true, () => false)) || signal.aborted) return;
  try {
    await finished(picture, signal);
  } catch {
    if (!signal.aborted) say(text("offline"));
  }
}

history.replaceState({ ...history.state, place }, "");
arrange();
const picture = counter.querySelector(".seat .picture");
compare(arrive(picture, leaving.signal), `${root}/dish.png?${counter.dataset.query}`, counter.dataset.model);
