// The visitor's own dishes on the front page, and their menu.
import { forget, KEY, kept } from "./saved_store.js";
import { text } from "./texts.js";

const shelf = document.getElementById("shelf");
const list = shelf.querySelector(".strip");
const { menu: mostOnAMenu, picture: side } = document.documentElement.dataset;

function show() {
  const dishes = kept();
  shelf.hidden = dishes.length === 0;
  const base = shelf.dataset.counter;
  const items = dishes.map(({ query, title }) => {
    const link = document.createElement("a");
    link.className = "thumb";
    link.href = `${base}?${query}`;
    link.title = title; // a long one is cut below
    const waits = document.createElement("span");
    waits.className = "waits";
    const image = new Image(side, side);
    image.loading = "lazy";
    image.alt = "";
    image.src = `${document.documentElement.dataset.pictures}?${query}`;
    waits.append(image);
    const caption = document.createElement("span");
    caption.textContent = title;
    link.append(waits, caption);
    const drop = document.createElement("button");
    drop.type = "button";
    drop.className = "drop";
    drop.textContent = "×";
    drop.ariaLabel = text("forget_one", { name: title });
    drop.addEventListener("click", () => {
      const place = [...list.children].indexOf(item);
      forget(query);
      changed();
      (list.children[Math.min(place, list.children.length - 1)]?.lastChild ?? document.getElementById("name")).focus();
    });
    const item = document.createElement("li");
    item.append(link, drop);
    return item;
  });
  list.replaceChildren(...items);
  const menu = new URLSearchParams(dishes.slice(0, mostOnAMenu).map(({ query }) => ["dish", query]));
  shelf.querySelector("#latest").hidden = dishes.length <= mostOnAMenu;
  for (const link of shelf.querySelectorAll("[data-menu]")) link.href = `${link.dataset.menu}?${menu}`;
}

/** A heart elsewhere on the page shows it too. */
function changed() {
  show();
  document.dispatchEvent(new Event("arranged"));
}

shelf.querySelector("#forget").addEventListener("click", () => {
  if (!confirm(text("forget_sure"))) return;
  forget();
  changed();
  document.getElementById("name").focus();
});

show();
document.addEventListener("kept", show);
addEventListener("pageshow", (event) => event.persisted && show()); // what was hearted since, from this page on
addEventListener("storage", ({ key }) => (key === null || key === KEY) && show()); // or beside it
