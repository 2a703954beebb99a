// What stands on the table: one article an order, one plate a picture.
import { text } from "./texts.js";

const KEPT = 6;
const served = document.getElementById("served");
const orders = document.getElementById("orders");

function clone(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

async function lay(dish, kind, png, alt) {
  const image = new Image(256, 256);
  image.className = kind;
  image.alt = alt;
  image.src = `data:image/png;base64,${png}`;
  await image.decode().catch(() => {}); // without this the plate would flash empty
  const there = dish.querySelector(`.${kind}, .picture`);
  if (there) return;
  dish.append(image);
}

/** An order's place on the table, ready for the events that its stream brings. */
export class Order {
  /** `event` is the stream's first, with the name, the notices and the seeds. */
  constructor(event) {
    this.name = event.name;
    this.query = event.pictures[0].url.split("?")[1].replace(/&model=.*/, ""); // kept whoever the cook will be
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
      plate.classList.add("empty");
      const seed = plate.querySelector(".seed");
      seed.textContent = text("seed", about);
      seed.ariaLabel = text("keep_number", about);
      seed.dataset.seed = picture.seed;
      seed.href = `?seed=${picture.seed}`;
      const save = plate.querySelector(".save");
      save.href = `${picture.url}&download=1`;
      save.ariaLabel = text("save_of", about);
      const taste = plate.querySelector(".taste");
      taste.href = picture.url.replace("/dish.png?", "/dish?");
      taste.ariaLabel = text("taste_of", about);
      const isNew = plate.querySelector(".new");
      if (isNew) {
        isNew.href = `${taste.href}&nearest=1`;
        isNew.ariaLabel = text("is_it_new_of", about);
      }
      plate.dataset.picture = picture.url;
      plate.alt = text("alt", { name: event.name, k: index + 1, n: event.pictures.length });
      return plate;
    });
    this.element.querySelector(".plates").append(...this.plates);
    orders.prepend(this.element);
    while (orders.children.length > KEPT) orders.lastElementChild.remove();
    served.hidden = false;
  }

  /** The stage-1 sketch, out of focus, until the picture covers it. */
  async sketch(index, png) {
    await lay(this.plates[index].querySelector(".dish"), "sketch", png, "");
  }

  async picture(index, png) {
    const plate = this.plates[index];
    await lay(plate.querySelector(".dish"), "picture", png, plate.alt);
    plate.classList.remove("empty");
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
