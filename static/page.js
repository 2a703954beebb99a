// The order form, brought to life. Without this script it posts itself, and the server answers with a page.
import * as api from "./api.js";
import "./saved_dishes.js";
import { laid, layAgain, Order } from "./results.js";
import { flash, say, tell } from "./status.js";
import { text } from "./texts.js";

const MOST_LINES = 8;
// As the pages' own pictures: PNG is what the server sends unasked.
const FORMAT = document.documentElement.dataset.pictures.endsWith(".webp") ? { format: "webp" } : {};
const form = document.getElementById("form");
const input = document.getElementById("name");
const plates = document.getElementById("n");
const problem = document.getElementById("problem");
const several = document.getElementById("several");
const again = document.getElementById("again");
const number = document.getElementById("seed");
const surprise = document.getElementById("surprise");
const home = form.action.replace(/generate$/, "");
const byTouch = matchMedia("(pointer: coarse)");

let current = new AbortController();
let shownAt = pageAddress();

/** The address without the part of the page that it may point at. */
function pageAddress() {
  return location.href.split("#")[0];
}

/** `asked` for by number: coming back finds it in its box. */
function orderAddress(name, seed, n, model, asked) {
  const kept = asked ? { kept: 1 } : {};
  return `${home}?${new URLSearchParams({ name, seed, n, model, ...kept })}`;
}

function complain(message) {
  problem.textContent = message;
  problem.hidden = !message;
  if (message) {
    input.setAttribute("aria-invalid", "true");
    input.focus(); // so that a screen reader reads the box with its complaint
  } else input.removeAttribute("aria-invalid");
}

/** Waits, counting down in the status line, until the time is up or the visitor cannot wait. */
function patience(message, seconds, signal) {
  return new Promise((resolve, reject) => {
    let left = seconds;
    const count = () => say(`${message} ${text("retrying", { seconds: left })}`);
    const stop = (settle) => () => {
      clearInterval(timer);
      again.hidden = true;
      settle();
    };
    const timer = setInterval(() => (--left > 0 ? count() : stop(resolve)()), 1000);
    again.onclick = stop(resolve);
    again.hidden = false;
    signal.addEventListener("abort", stop(() => reject(signal.reason)), { once: true });
    count();
  });
}

/** Does `work`, and does it over as long as the kitchen is full. */
async function insist(work, signal) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof api.Refused) || error.retryAfter === null) throw error;
      await patience(error.message, error.retryAfter, signal);
      say("");
    }
  }
}

function reason(error) {
  return error instanceof api.Refused ? error.message : text("offline");
}

/** Remembers what is on the table with the place in the browser's history, for a reload and for "Back". */
function record(address, push) {
  const state = { orders: laid() };
  if (push) history.pushState(state, "", address);
  else history.replaceState(state, "", address);
  shownAt = pageAddress();
}

function entitle(address, name) {
  document.title = name ? `${name} – ${text("title")}` : text("title");
  const next = new URL(address, location.href);
  for (const link of document.querySelectorAll(".languages a")) {
    next.searchParams.set("lang", link.hreflang);
    link.href = next.href;
  }
}

async function serve(fields, signal) {
  let table = null;
  const drawn = [];
  try {
    for await (const event of api.order(form.action, fields, signal)) {
      if (event.event === "order") {
        table = new Order(event);
        const { name, ahead, model } = event;
        if (ahead) say(text("ahead", { name, ahead }));
        else tell(text("making", { name }));
        const [{ seed }] = event.pictures;
        const asked = fields.seed === number.value && fields.seed;
        const address = orderAddress(fields.name, seed, event.pictures.length, model, asked);
        record(address, true);
        entitle(address, name);
        document.getElementById("made-by")?.remove(); // this order's pictures are by the model that serves
        table.element.scrollIntoView({ block: byTouch.matches ? "start" : "nearest" });
      } else if (event.event === "sketch") {
        drawn.push(table.sketch(event.index, event));
      } else if (event.event === "picture") {
        drawn.push(table.picture(event.index, event));
      } else if (event.event === "error") {
        table.spoil(event.index, `${text("spoilt")} ${event.error.message}`);
      }
    }
    await Promise.all(drawn);
    tell(text("done", { name: table.name }));
  } finally {
    await Promise.all(drawn);
    table?.clear();
    if (table) history.replaceState({ orders: laid() }, "");
  }
}

/** Orders pictures of `name`; an order still in the making is given up for it. */
async function place(name, seed) {
  current.abort();
  const { signal } = (current = new AbortController());
  complain("");
  several.hidden = true;
  again.hidden = true;
  if (byTouch.matches) document.activeElement?.blur(); // the keyboard covers the plates
  tell(text("making", { name }));
  form.classList.add("busy");
  try {
    const fields = { name, n: plates.value, seed: seed ?? number.value, ...FORMAT };
    await insist(() => serve(fields, signal), signal);
  } catch (error) {
    if (signal.aborted) return; // the next order speaks now
    say("");
    complain(reason(error));
  } finally {
    if (!signal.aborted) form.classList.remove("busy");
  }
}

/** Waits for these pictures, which a full kitchen may have refused. */
async function arrive(pictures, signal) {
  try {
    for (const picture of pictures) {
      await insist(() => api.arrived(picture, signal), signal);
      picture.closest(".plate")?.classList.remove("empty");
    }
  } catch (error) {
    if (!signal.aborted) say(reason(error));
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (event.submitter === surprise) {
    try {
      input.value = await api.surprise(surprise.formAction);
    } catch (error) {
      complain(reason(error));
      return;
    }
  }
  if (!number.reportValidity()) return;
  if (input.value.trim()) place(input.value);
  else complain(text("error.empty_name"));
});

// While an input method composes, Enter picks a candidate and orders nothing. Safari ends the composition before
// it reports the key, and only 229 tells that Enter apart.
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.isComposing || event.keyCode === 229)) event.preventDefault();
});

// Several lines are several dishes, and what does not fit is not cut off in silence.
input.addEventListener("paste", (event) => {
  const pasted = event.clipboardData.getData("text");
  const names = pasted.split(/[\r\n]+/).filter((line) => line.trim());
  several.hidden = names.length < 2;
  if (names.length > 1) {
    const link = several.querySelector("a");
    link.textContent = text("several_lines", { count: names.length });
    link.search = new URLSearchParams({ names: names.slice(0, MOST_LINES).join("\n") });
  } else if (pasted.trim().length > input.maxLength) flash(text("cut", { most: input.maxLength }), 5);
});

for (const link of document.querySelectorAll(".menu a")) {
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    input.value = link.dataset.name;
    form.scrollIntoView({ block: "start" });
    place(link.dataset.name, link.dataset.seed);
  });
}

// The number under a picture makes the next order's plates the same.
document.getElementById("orders").addEventListener("click", (event) => {
  const link = event.target.closest(".seed");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  number.value = link.dataset.seed;
  flash(text("kept_number", { seed: link.dataset.seed }), 5);
  form.scrollIntoView({ block: "start" });
  input.focus({ preventScroll: true });
  input.select();
});

addEventListener("popstate", ({ state }) => {
  if (pageAddress() === shownAt) return; // a link into the page
  if (!state?.orders) {
    location.reload();
    return;
  }
  shownAt = pageAddress();
  restore(state.orders);
});

/** Lays what was on the table at this place of the history. */
function restore(entries) {
  current.abort();
  current = new AbortController();
  const asked = new URLSearchParams(location.search);
  input.value = asked.get("name") ?? "";
  number.value = asked.get("kept") ? asked.get("seed") : "";
  if (asked.get("n")) plates.value = asked.get("n");
  entitle(location.href, entries[0]?.name);
  arrive(layAgain(entries), current.signal);
}

// A streamed picture has no address, and so no file name: it gets both before the browser's menu offers to save it.
document.addEventListener("contextmenu", (event) => {
  const plate = event.target.closest?.(".plate[data-query]");
  const image = plate?.querySelector(".picture");
  if (image?.src.startsWith("data:")) image.src = `${document.documentElement.dataset.root}/dish.png?${plate.dataset.query}`;
});

// The server knows the latest order alone.
if (history.state?.orders?.length > laid().length) restore(history.state.orders);
else {
  record(location.href, false);
  arrive(document.querySelectorAll("#orders .picture"), current.signal);
}
