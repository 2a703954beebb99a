// The heart of a dish: what is hearted is kept in this browser.
import { forget, keep, KEY, kept } from "./saved_store.js";

function dishOf(button) {
  return button.closest("[data-query]")?.dataset;
}

function show() {
  const queries = new Set(kept().map(({ query }) => query));
  for (const button of document.querySelectorAll(".heart")) {
    button.ariaPressed = String(queries.has(dishOf(button)?.query));
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".heart");
  if (!button) return;
  const { query, title } = dishOf(button);
  if (button.ariaPressed === "true") forget(query);
  else keep(query, title);
  show();
  document.dispatchEvent(new Event("kept"));
});

document.addEventListener("arranged", show);
addEventListener("pageshow", show);
addEventListener("storage", ({ key }) => (key === null || key === KEY) && show());
show();
