// Single keys for what the page marks with aria-keyshortcuts, listed on "?", where they can be switched off
// (WCAG 2.1.4). They rest while one writes.
const KEY = "keys";
const SIGNS = { ArrowLeft: "←", ArrowRight: "→" };
const list = document.getElementById("keys");
const box = list.querySelector("input");
const opener = document.getElementById("show-keys");

/** Folded away, a control is reached by its key all the same. */
function marked() {
  return [...document.querySelectorAll("[aria-keyshortcuts]")].filter(
    (element) => !element.closest("dialog") && (element.offsetParent || element.closest("details:not([open])")),
  );
}

function nameOf(element) {
  return element.ariaLabel ?? element.labels?.[0]?.textContent.trim() ?? element.textContent.trim();
}

function fill() {
  const lines = marked().flatMap((element) => {
    const [key, what] = [document.createElement("dt"), document.createElement("dd")];
    key.append(Object.assign(document.createElement("kbd"), { textContent: SIGNS[element.getAttribute("aria-keyshortcuts")] ?? element.getAttribute("aria-keyshortcuts") }));
    what.textContent = nameOf(element);
    return [key, what];
  });
  list.querySelector("dl").replaceChildren(...lines);
}

const WRITTEN = "input:not([type=range], [type=checkbox], [type=file]), textarea, select";

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest(WRITTEN)) {
    if (event.key !== "Escape") return;
    if (event.target.closest("form.live")) {
      event.target.value = event.target.defaultValue; // to leave it would settle what was half typed
      event.target.dispatchEvent(new Event("input", { bubbles: true }));
    }
    event.target.blur();
    return;
  }
  if (event.key !== "?" && (!box.checked || document.querySelector("dialog[open]"))) return;
  const element = marked().find((one) => one.getAttribute("aria-keyshortcuts").toUpperCase() === event.key.toUpperCase());
  if (!element) return;
  event.preventDefault();
  const folded = element.closest("details:not([open])");
  if (folded) folded.open = true;
  if (element.id === "compare") {
    document.dispatchEvent(new Event("hold"));
    return;
  }
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
opener.addEventListener("click", () => {
  if (list.open) return;
  fill();
  list.showModal();
});
list.addEventListener("click", (event) => event.target === list && list.close());
opener.hidden = false;
