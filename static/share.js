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

document.addEventListener("keydown", (event) => {
  const open = document.querySelector(".share[open]");
  if (event.key !== "Escape" || !open) return;
  event.preventDefault();
  open.open = false;
  open.querySelector("summary").focus();
});
