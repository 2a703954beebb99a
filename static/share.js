// Sharing a dish: by the telephone's own sheet where there is one, else by the links that are listed.
import { flash } from "./status.js";
import { text } from "./texts.js";

/** Makes `box`, a list of ways to share, that of this dish. */
export function fill(box, address, title) {
  Object.assign(box.dataset, { address, title });
  box.open = false;
  box.querySelector(".on-x").href = `https://x.com/intent/post?${new URLSearchParams({ text: title, url: address })}`;
  box.querySelector(".on-line").href = `https://line.me/R/share?${new URLSearchParams({ text: `${title}\n${address}` })}`;
  box.querySelector(".permalink").href = address;
}

document.addEventListener("click", (event) => {
  const box = event.target.closest(".share");
  for (const other of document.querySelectorAll(".share[open]")) if (other !== box) other.open = false;
  if (!box) return;
  const { address, title } = box.dataset;
  if (event.target.closest("summary") && navigator.share && matchMedia("(pointer: coarse)").matches) {
    event.preventDefault();
    navigator.share({ title, text: title, url: address }).catch(() => {}); // thought better of
  } else if (event.target.closest(".permalink") && navigator.clipboard) {
    event.preventDefault(); // over plain HTTP there is no clipboard: the link is followed, as without this script
    navigator.clipboard.writeText(address).then(
      () => {
        box.open = false;
        flash(text("copied"));
      },
      () => (location.href = address),
    );
  }
});

// A moving morph as a file, where files can be shared. One that took so long to arrive that the browser no longer takes it
// for the visitor's wish is shared at the next tap.
const animations = new Map();

function animation(address) {
  if (!animations.has(address)) {
    const fetched = fetch(address).then(async (answer) => {
      if (!answer.ok) throw new Error(answer.statusText);
      return new File([await answer.blob()], "morph.webp", { type: "image/webp" });
    });
    animations.set(address, fetched);
    fetched.catch(() => animations.delete(address));
  }
  return animations.get(address);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("#share-morph");
  if (!button) return;
  button.disabled = true;
  try {
    await navigator.share({ title: document.title, files: [await animation(button.dataset.file)] });
  } catch (error) {
    if (error.name === "NotAllowedError") flash(text("share_again"));
    else if (error.name !== "AbortError") flash(text("offline"), 6);
  }
  button.disabled = false;
});

if (navigator.canShare?.({ files: [new File([], "morph.webp", { type: "image/webp" })] })) {
  document.documentElement.classList.add("shares-files");
}

document.addEventListener("keydown", (event) => {
  const open = document.querySelector(".share[open]");
  if (event.key !== "Escape" || !open) return;
  event.preventDefault();
  open.open = false;
  open.querySelector("summary").focus();
});
