// A picture that was saved here knows its recipe: dropped on the page, it leads back to its dish.
import { flash, say } from "./status.js";
import { text } from "./texts.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const MOST_BYTES = 2 ** 20;
const KEY = "reopened";

const status = document.getElementById("status");

/** The text chunks of a PNG file (PNG specification, 11.3.3), compressed ones left out. */
function texts(bytes) {
  if (!SIGNATURE.every((byte, k) => bytes[k] === byte)) return {};
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const latin = new TextDecoder("latin1");
  const found = {};
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = latin.decode(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    const end = data.indexOf(0);
    const key = latin.decode(data.subarray(0, end));
    if (type === "tEXt" && end > 0) found[key] = latin.decode(data.subarray(end + 1));
    if (type === "iTXt" && end > 0 && data[end + 1] === 0) {
      const language = data.indexOf(0, end + 3);
      const translated = data.indexOf(0, language + 1);
      found[key] = new TextDecoder().decode(data.subarray(translated + 1));
    }
    at += 12 + length;
  }
  return found;
}

async function open(file) {
  const bytes = new Uint8Array(file.size <= MOST_BYTES ? await file.arrayBuffer() : 0);
  const { Name, Seed, Model, Recipe } = texts(bytes);
  if (!Name || !Seed || !Model) {
    flash(text("not_ours"), 6);
    return;
  }
  const query = Recipe ?? new URLSearchParams({ name: Name, seed: Seed });
  const reader = new FileReader();
  reader.readAsDataURL(file);
  await new Promise((resolve) => (reader.onload = resolve));
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ model: Model, image: reader.result }));
  } catch {
    // without storage the dish opens all the same, uncompared
  }
  location.href = `${status.dataset.counter}?${query}`;
}

async function pixels(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(image, 0, 0);
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

/** After a picture has led here: whether this model still makes the same, once it `arrived`, pixel by pixel. */
export async function compare(arrived, address, model) {
  let kept = null;
  try {
    kept = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
  } catch {
    // storage that is forbidden
  }
  if (!kept) return;
  try {
    const dropped = JSON.parse(kept);
    const before = await pixels(dropped.image);
    await arrived;
    const now = await pixels(before.width === 64 ? `${address}&size=64` : address);
    let most = before.data.length === now.data.length ? 0 : 255;
    for (let k = 0; k < before.data.length && most < 255; k++) {
      most = Math.max(most, Math.abs(before.data[k] - now.data[k]));
    }
    // Another kind of processor may differ by a grey level, which nobody sees.
    const same = most === 0 ? "reopened_same" : most <= 2 ? "reopened_alike" : "reopened_other";
    const other = most > 2 && dropped.model !== model ? ` ${text("reopened_model", { model: dropped.model })}` : "";
    flash(text(same) + other, 6);
  } catch {
    say(text("offline"));
  }
}

addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.items].some((item) => item.kind === "file")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (!file) return;
  event.preventDefault();
  open(file);
});

const chooser = document.getElementById("reopen");
if (chooser) {
  chooser.addEventListener("change", () => chooser.files[0] && open(chooser.files[0]));
  chooser.closest("[hidden]")?.removeAttribute("hidden");
}
