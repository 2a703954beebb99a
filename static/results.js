// What stands on the table: one article an order, one plate a picture.
import { text } from "./texts.js";

const KEPT = 6;
const served = document.getElementById("served");
const orders = document.getElementById("orders");
const { root, pictures, picture: side } = document.documentElement.dataset;

function clone(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

function sourceOf({ webp, png }) {
  return webp ? `data:image/webp;base64,${webp}` : `data:image/png;base64,${png}`;
}

async function lay(dish, kind, source, alt) {
  const image = new Image(side, side);
  image.className = kind;
  image.alt = alt;
  image.src = source;
  await image.decode().catch(() => {}); // without this the plate would flash empty
  const there = dish.querySelector(`.${kind}, .picture`);
  if (there) return;
  dish.append(image);
}

/** An order's place on the table, ready for the events that its stream brings. */
export class Order {
  /** `event` is the stream's first, with the name, the notices and the pictures' seeds and addresses. */
  constructor(event) {
    this.name = event.name;
    this.element = clone("order-template");
    this.element.querySelector("h3").textContent = event.name;
    const notices = this.element.querySelector(".notices");
    for (const notice of event.notices) {
      const item = document.createElement("li");
      item.textContent = notice;
      notices.append(item);
    }
    notices.hidden = event.notices.length === 0;
    this.plates = event.pictures.map((picture, index) => {
      const plate = clone("plate-template");
      const about = { seed: picture.seed, name: event.name };
      const query = picture.url.split("?")[1].replace(/&model=.*/, ""); // kept whoever the cook will be
      Object.assign(plate.dataset, { query, title: event.name, number: picture.seed });
      plate.classList.add("empty");
      const seed = plate.querySelector(".seed");
      seed.textContent = text("seed", about);
      seed.ariaLabel = text("keep_number", about);
      seed.dataset.seed = picture.seed;
      seed.href = `${root}/?seed=${picture.seed}`;
      plate.querySelector(".heart").ariaLabel = text("heart_of", about);
      const save = plate.querySelector(".save");
      save.href = `${root}/dish.png?${query}&download=1`;
      save.ariaLabel = text("save_of", about);
      const taste = plate.querySelector(".taste");
      taste.href = plate.querySelector(".dish").href = `${root}/dish?${query}`;
      taste.ariaLabel = text("taste_of", about);
      plate.querySelector(".dish").ariaLabel = plate.alt = text("alt", { name: event.name, k: index + 1, n: event.pictures.length });
      return plate;
    });
    this.element.querySelector(".plates").append(...this.plates);
    orders.prepend(this.element);
    while (orders.children.length > KEPT) orders.lastElementChild.remove();
    served.hidden = false;
    document.dispatchEvent(new Event("arranged"));
  }

  /** The stage-1 sketch, out of focus, until the picture covers it. */
  async sketch(index, event) {
    await lay(this.plates[index].querySelector(".dish"), "sketch", sourceOf(event), "");
  }

  async picture(index, event) {
    const plate = this.plates[index];
    await lay(plate.querySelector(".dish"), "picture", sourceOf(event), plate.alt);
    plate.classList.remove("empty");
  }

  /** Fetches every picture by its address, as after a reload. */
  fetch() {
    return this.plates.map((plate) => {
      const image = new Image(side, side);
      image.className = "picture";
      image.alt = plate.alt;
      image.src = `${pictures}?${plate.dataset.query}`;
      image.decode().then(() => plate.classList.remove("empty"), () => {});
      plate.querySelector(".dish").append(image);
      return image;
    });
  }

  /** This plate came to nothing. */
  spoil(index, message) {
    const plate = this.plates[index];
    const note = document.createElement("p");
    note.className = "spoilt";
    note.textContent = message;
    plate.classList.remove("empty");
    plate.querySelector(".dish").replaceChildren(note);
    plate.querySelector("figcaption").remove();
  }

  /** Takes away the plates that nobody waits for any more. */
  clear() {
    for (const plate of this.plates) if (plate.classList.contains("empty")) plate.remove();
    if (!this.element.querySelector(".plate")) this.element.remove();
    served.hidden = orders.children.length === 0;
  }
}

/** The orders on the table, the latest first, as `Order` takes them: {name, notices, pictures, address}. */
export function laid() {
  return [...orders.children].map((order) => ({
    name: order.querySelector("h3").textContent,
    notices: [...order.querySelectorAll(".notices li")].map((item) => item.textContent),
    pictures: [...order.querySelectorAll(".plate")].map(({ dataset }) => ({ seed: dataset.number, url: `?${dataset.query}` })),
  }));
}

/** Lays these orders in place of what is on the table; the pictures that are yet to come. */
export function layAgain(entries) {
  orders.replaceChildren();
  served.hidden = true;
  return [...entries].reverse().flatMap((entry) => new Order(entry).fetch()).reverse();
}
