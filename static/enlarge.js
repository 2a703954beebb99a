// A plate as large as the window allows: swiped, turned or stepped to the next one, and saved from there.
import { fill } from "./share.js";
import { text } from "./texts.js";

const SWIPE = 40; // pixels that tell a swipe from a tap
const dialog = document.getElementById("enlarged");
const image = dialog.querySelector(".picture");
const { root, pictures, enlarged } = document.documentElement.dataset;
let plates = [];
let at = 0;

function show(index) {
  at = (index + plates.length) % plates.length;
  const { query, title, number } = plates[at].dataset;
  Object.assign(dialog.dataset, { query, title });
  image.src = `${pictures}?${query}`;
  image.alt = title;
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector(".seed").textContent = text("seed", { seed: number });
  dialog.querySelector(".taste").href = `${root}/dish?${query}`;
  dialog.querySelector(".save").href = `${root}/dish.png?${query}&download=1`;
  dialog.querySelector(".save-large").href = `${root}/dish.png?${query}&size=${enlarged}&download=1`;
  fill(dialog.querySelector(".share"), new URL(`${root}/dish?${query}&shared=1`, location.href).href, title);
  for (const turn of dialog.querySelectorAll(".turn")) turn.hidden = plates.length < 2;
  document.dispatchEvent(new Event("arranged"));
}

document.addEventListener("click", (event) => {
  const dish = event.target.closest(".plate a.dish");
  if (!dish || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const plate = dish.closest(".plate");
  plates = [...plate.parentElement.children].filter((one) => one.querySelector(".picture"));
  if (!plates.includes(plate)) return;
  show(plates.indexOf(plate));
  dialog.showModal();
});

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // beside it
  if (event.target.closest(".turn.back")) show(at - 1);
  if (event.target.closest(".turn.next")) show(at + 1);
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") show(at - 1);
  if (event.key === "ArrowRight") show(at + 1);
});
dialog.addEventListener("close", () => plates[at]?.querySelector("a.dish").focus({ preventScroll: true }));

let began = null;
dialog.addEventListener("touchstart", (event) => (began = event.touches.length === 1 ? event.touches[0] : null), { passive: true });
dialog.addEventListener("touchend", (event) => {
  if (!began || plates.length < 2) return;
  const [{ clientX, clientY }] = event.changedTouches;
  const [x, y] = [clientX - began.clientX, clientY - began.clientY];
  if (Math.abs(x) > SWIPE && Math.abs(x) > 2 * Math.abs(y)) show(x > 0 ? at - 1 : at + 1);
});
