// The order form, brought to life. Without this script it posts itself, and the server answers with a page.
import { keep } from "./saved_store.js";
import * as api from "./api.js";
import { show } from "./saved_dishes.js";
import { Order } from "./results.js";
import { text } from "./texts.js";

const form = document.getElementById("form");
const input = document.getElementById("name");
const plates = document.getElementById("n");
const problem = document.getElementById("problem");
const status = document.getElementById("status");
const again = document.getElementById("again");
const number = document.getElementById("seed");
const clock = document.getElementById("clock");
const surprise = document.getElementById("surprise");
const home = form.action.replace(/generate$/, "");

let current = new AbortController();
let shownAt = location.href.split("#")[0]; // without the part of the page that it may point at

/** `asked` for by number: coming back finds it in its box. */
function pageAddress(name, seed, n, model, asked) {
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
    const say = () => (status.textContent = `${message} ${text("retrying", { seconds: left })}`);
    const stop = (settle) => () => {
      clearInterval(timer);
      again.hidden = true;
      settle();
    };
    const timer = setInterval(() => (--left > 0 ? say() : stop(resolve)()), 1000);
    again.onclick = stop(resolve);
    again.hidden = false;
    signal.addEventListener("abort", stop(() => reject(signal.reason)), { once: true });
    say();
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
      status.textContent = "";
    }
  }
}

function reason(error) {
  return error instanceof api.Refused ? error.message : text("offline");
}

async function serve(fields, signal) {
  let table = null;
  const drawn = [];
  try {
    for await (const event of api.order(form.action, fields, signal)) {
      if (event.event === "order") {
        const first = document.getElementById("served").hidden;
        table = new Order(event);
        const { name, ahead, model } = event;
        status.textContent = text(ahead ? "ahead" : "making", { name, ahead });
        const [{ seed }] = event.pictures;
        const address = pageAddress(name, seed, event.pictures.length, model, fields.seed === number.value && fields.seed);
        // "Back" leads to the order before this one.
        if (first) history.replaceState(null, "", address);
        else history.pushState(null, "", address);
        shownAt = location.href;
        document.getElementById("made-by")?.remove(); // this order's pictures are by the model that serves
        for (const link of document.querySelectorAll(".languages a")) link.href = `${address}&lang=${link.hreflang}`;
      } else if (event.event === "sketch") {
        drawn.push(table.sketch(event.index, event.png));
      } else if (event.event === "picture") {
        drawn.push(table.picture(event.index, event.png));
      } else if (event.event === "error") {
        table.spoil(event.index, `${text("spoilt")} ${event.error.message}`);
      }
    }
    await Promise.all(drawn);
    status.textContent = text("done", { name: table.name });
    keep(table.query, table.name);
    show();
  } finally {
    await Promise.all(drawn);
    table?.clear();
  }
}

/** Orders pictures of `name`; an order still in the making is given up for it. */
async function place(name, seed) {
  current.abort();
  const { signal } = (current = new AbortController());
  complain("");
  again.hidden = true;
  const fields = { name, n: plates.value, seed: seed ?? number.value };
  status.textContent = text("making", { name });
  form.classList.add("busy");
  const began = performance.now();
  const ticking = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    if (seconds > 1) clock.textContent = `${seconds.toFixed(1)} s`;
  }, 100);
  try {
    await insist(() => serve(fields, signal), signal);
  } catch (error) {
    if (signal.aborted) return; // the next order speaks now
    status.textContent = "";
    complain(reason(error));
  } finally {
    clearInterval(ticking);
    clock.textContent = "";
    if (!signal.aborted) form.classList.remove("busy");
  }
}

/** Waits for the pictures that are part of the page, which a full kitchen may have refused. */
async function arrive(signal) {
  try {
    for (const picture of document.querySelectorAll("#orders .picture")) {
      await insist(() => api.arrived(picture, signal), signal);
    }
  } catch (error) {
    if (!signal.aborted) status.textContent = reason(error);
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

for (const link of document.querySelectorAll(".menu a")) {
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    input.value = link.dataset.name;
    place(link.dataset.name, link.dataset.seed);
    form.scrollIntoView({ block: "start" });
  });
}

// The number under a picture makes the next order's plates the same.
document.getElementById("orders").addEventListener("click", (event) => {
  const link = event.target.closest(".seed");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  number.value = link.dataset.seed;
  status.textContent = text("kept_number", { seed: link.dataset.seed });
  input.select();
});

addEventListener("popstate", () => {
  if (location.href.split("#")[0] !== shownAt) location.reload();
});

// A streamed picture has no address, and so no file name: it gets both before the browser's menu offers to save it.
document.addEventListener("contextmenu", (event) => {
  const plate = event.target.closest?.("[data-picture]");
  const image = plate?.querySelector(".picture");
  if (image?.src.startsWith("data:")) image.src = plate.dataset.picture;
});

arrive(current.signal);
