// One made-up dish after the other: its name at once, its picture as soon as it is made, the next one made meanwhile.
import * as api from "./api.js";
import { fill } from "./share.js";
import { say } from "./status.js";
import { text } from "./texts.js";

const SWIPE = 40; // pixels that tell a swipe from a tap
const { root, pictures, picture: side, seeds } = document.documentElement.dataset;
const seat = document.getElementById("omakase");
const dish = seat.querySelector(".dish");
const next = document.getElementById("next");
const previous = document.getElementById("previous");
const jokes = JSON.parse(seat.dataset.jokes);

const seen = [seat.dataset.query]; // queries, the one that is shown at `at`
let at = 0;
let coming = compose();

async function compose() {
  const name = jokes.pop() ?? (await api.surprise(`${root}/surprise`));
  const query = new URLSearchParams({ name, seed: Math.floor(Math.random() * seeds) }).toString().replaceAll("+", "%20");
  const image = new Image(side, side);
  image.className = "picture";
  image.src = `${pictures}?${query}`; // is made while the one before is looked at
  return { query, image };
}

async function show(index, image) {
  at = index;
  const query = seen[at];
  const fields = new URLSearchParams(query);
  const name = fields.get("name");
  seat.querySelector("h1").textContent = name;
  seat.querySelector(".seed").textContent = text("seed", { seed: fields.get("seed") });
  Object.assign(seat.dataset, { query, title: name });
  const here = `${root}/dish?${query}`;
  for (const link of [dish, seat.querySelector(".taste")]) link.href = here;
  seat.querySelector(".save").href = `${root}/dish.png?${query}&download=1`;
  fill(seat.querySelector(".share"), new URL(`${here}&shared=1`, location.href).href, name);
  previous.disabled = at === 0;
  document.title = `${name} – ${text("title")}`;
  history.replaceState(null, "", `${root}/omakase?${query}`); // a reload shows it again
  for (const link of document.querySelectorAll(".languages a")) link.href = `${root}/omakase?lang=${link.hreflang}`;
  image ??= Object.assign(new Image(side, side), { className: "picture", src: `${pictures}?${query}` });
  image.alt = dish.ariaLabel = name;
  dish.classList.add("empty");
  dish.querySelector(".picture")?.remove();
  document.dispatchEvent(new Event("arranged"));
  if (!(await arrived(image, index))) return;
  dish.classList.remove("empty");
  dish.querySelector(".picture")?.remove(); // of two that waited for one dish
  dish.append(image);
}

/** Waits for the picture of the dish at `index`; whether that is still the one to be shown. */
async function arrived(image, index) {
  for (;;) {
    try {
      await api.arrived(image);
      return at === index;
    } catch (error) {
      if (at !== index) return false;
      if (!(error instanceof api.Refused) || error.retryAfter === null) {
        say(text("offline"));
        return false;
      }
      say(`${error.message} ${text("retrying", { seconds: error.retryAfter })}`);
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
      say("");
    }
  }
}

async function forward() {
  if (at + 1 < seen.length) {
    show(at + 1);
    return;
  }
  try {
    const { query, image } = await coming;
    seen.push(query);
    show(seen.length - 1, image);
  } catch {
    say(text("offline"));
  }
  coming = compose();
  coming.catch(() => {}); // said when it is asked for
}

next.addEventListener("click", (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  forward();
});
previous.addEventListener("click", () => at > 0 && show(at - 1));
coming.catch(() => {});
arrived(dish.querySelector(".picture"), 0);

let began = null;
seat.addEventListener("touchstart", (event) => (began = event.touches.length === 1 ? event.touches[0] : null), { passive: true });
seat.addEventListener("touchend", (event) => {
  if (!began) return;
  const [{ clientX, clientY }] = event.changedTouches;
  const [x, y] = [clientX - began.clientX, clientY - began.clientY];
  if (Math.abs(x) < SWIPE || Math.abs(x) < 2 * Math.abs(y)) return;
  if (x < 0) forward();
  else if (at > 0) show(at - 1);
});
