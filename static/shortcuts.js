// Single keys for what the page marks with aria-keyshortcuts, listed at its foot, where they can be switched off
// (WCAG 2.1.4). They rest while one writes.
const KEY = "keys";
const list = document.getElementById("keys");
const box = list.querySelector("input");

function marked() {
  return [...document.querySelectorAll("[aria-keyshortcuts]")].filter((element) => element.offsetParent);
}

function nameOf(element) {
  return element.ariaLabel ?? element.labels?.[0]?.textContent.trim() ?? element.textContent.trim();
}

function fill() {
  const lines = marked().flatMap((element) => {
    const [key, what] = [document.createElement("dt"), document.createElement("dd")];
    key.append(Object.assign(document.createElement("kbd"), { textContent: element.getAttribute("aria-keyshortcuts") }));
    what.textContent = nameOf(element);
    return [key, what];
  });
  list.querySelector("dl").replaceChildren(...lines);
}

const WRITTEN = "input:not([type=range], [type=checkbox], [type=file]), textarea, select";

document.addEventListener("keydown", (event) => {
  if (!box.checked || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest(WRITTEN)) {
    if (event.key !== "Escape") return;
    if (event.target.closest("form.live")) {
      event.target.value = event.target.defaultValue; // to leave it would settle what was half typed
      event.target.dispatchEvent(new Event("input", { bubbles: true }));
    }
    event.target.blur();
    return;
  }
  const element = marked().find((one) => one.getAttribute("aria-keyshortcuts") === event.key.toUpperCase());
  if (!element) return;
  event.preventDefault();
  element.focus();
  if (element.matches(WRITTEN)) element.select?.();
  else element.click();
});

try {
  box.checked = localStorage.getItem(KEY) !== "off";
} catch {
  // storage that is forbidden: they stay on
}
box.addEventListener("change", () => {
  try {
    localStorage.setItem(KEY, box.checked ? "on" : "off");
  } catch {
    // for this page only, then
  }
});
document.addEventListener("arranged", () => list.open && fill());
list.addEventListener("toggle", () => list.open && fill());
list.hidden = marked().length === 0;
