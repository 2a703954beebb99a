// A picture that was saved here knows its recipe: dropped on the page, it leads back to its dish.
import { flash } from "./status.js";
import { text } from "./texts.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const MOST_BYTES = 2 ** 22;
const MOST_TEXT = 2 ** 16;
const MOST_PIXELS = Number(document.documentElement.dataset.enlarged); // a side
const KEY = "reopened";

const status = document.getElementById("status");

/** The chunks of a PNG file (PNG specification, 5.3), up to where it breaks off. */
function* chunks(bytes) {
  if (!SIGNATURE.every((byte, k) => bytes[k] === byte)) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) return;
    yield { type: latin(bytes.subarray(at + 4, at + 8)), data: bytes.subarray(at + 8, at + 8 + length) };
    at += 12 + length;
  }
}

function latin(bytes) {
  return String.fromCharCode(...bytes);
}

/** Text that ought to be Latin-1, which some programs write as UTF-8. */
function decode(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return latin(bytes);
  }
}

/** What zlib has compressed; an error where that is damaged or longer than `most` bytes. */
async function inflate(data, most) {
  const pieces = [];
  let length = 0;
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    length += piece.value.length;
    if (length > most) {
      reader.cancel();
      throw new RangeError("too long");
    }
    pieces.push(piece.value);
  }
  return joined(pieces);
}

async function joined(pieces) {
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** The texts of a PNG file by their keys (PNG specification, 11.3.3), compressed or not, wherever in it they stand. */
async function texts(bytes) {
  const found = {};
  for (const { type, data } of chunks(bytes)) {
    const end = data.indexOf(0);
    if (end < 1) continue;
    const key = latin(data.subarray(0, end));
    try {
      if (type === "tEXt") found[key] ??= decode(data.subarray(end + 1));
      if (type === "zTXt") found[key] ??= decode(await inflate(data.subarray(end + 2), MOST_TEXT));
      if (type === "iTXt") {
        const translated = data.indexOf(0, data.indexOf(0, end + 3) + 1);
        const text = data.subarray(translated + 1);
        found[key] ??= decode(data[end + 1] ? await inflate(text, MOST_TEXT) : text);
      }
    } catch {
      // damaged: as if it were not there
    }
  }
  return found;
}

async function open(file) {
  const bytes = new Uint8Array(file.size <= MOST_BYTES ? await file.arrayBuffer() : 0);
  const { Name, Seed, Model, Recipe } = await texts(bytes);
  if (!Recipe && !(Name && Seed)) {
    const lost = Name ? text("lost_number", { name: Name }) : Seed ? text("lost_name", { seed: Seed }) : text("not_ours");
    flash(lost, 6);
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

/**
 * The colours of a PNG file, 8 bits a channel and not interlaced: three bytes a pixel. Read from the file itself, since
 * browsers that guard their visitors' privacy change what a canvas gives back. An error where there is no telling.
 */
async function colours(bytes) {
  const all = [...chunks(bytes)];
  const header = all.find(({ type }) => type === "IHDR").data;
  const [width, height] = [0, 4].map((at) => new DataView(header.buffer, header.byteOffset).getUint32(at));
  const [depth, kind, , , interlaced] = header.subarray(8);
  const channels = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[kind];
  if (depth !== 8 || interlaced || !channels || width > MOST_PIXELS || height > MOST_PIXELS) throw new TypeError("unknown");
  const stride = width * channels;
  const packed = await joined(all.filter(({ type }) => type === "IDAT").map(({ data }) => data));
  const rows = await inflate(packed, (stride + 1) * height);
  if (rows.length !== (stride + 1) * height) throw new RangeError("too short");
  const palette = all.find(({ type }) => type === "PLTE")?.data;
  const found = new Uint8Array(width * height * 3);
  let above = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (stride + 1)];
    const row = rows.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1));
    for (let k = 0; k < stride; k++) {
      const [a, b, c] = [k < channels ? 0 : row[k - channels], above[k], k < channels ? 0 : above[k - channels]];
      row[k] += [0, a, b, (a + b) >> 1, paeth(a, b, c)][filter];
    }
    for (let x = 0; x < width; x++) {
      const at = x * channels;
      if (kind > 3 && row[at + channels - 1] !== 255) throw new TypeError("transparent");
      const rgb = kind === 3 ? palette.subarray(row[at] * 3, row[at] * 3 + 3) : row.subarray(at, at + 3);
      for (let k = 0; k < 3; k++) found[(y * width + x) * 3 + k] = kind % 4 ? rgb[k] : rgb[0];
    }
    above = row;
  }
  return { width, data: found };
}

/** The neighbour that is nearest to left + above - the one between (PNG specification, 9.4). */
function paeth(a, b, c) {
  const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/** "same" to the byte or to the colour, "alike" where nobody sees a difference, "other", or "unknown". */
async function likeness(before, now) {
  if (before.length === now.length && before.every((byte, k) => byte === now[k])) return "same";
  try {
    const [a, b] = await Promise.all([colours(before), colours(now)]);
    if (a.data.length !== b.data.length) return "other";
    const most = a.data.reduce((worst, value, k) => Math.max(worst, Math.abs(value - b.data[k])), 0);
    return most === 0 ? "same" : most <= 2 ? "alike" : "other"; // another kind of processor may differ by a grey level
  } catch {
    return "unknown";
  }
}

/** After a picture has led here: whether this model still makes the same, once it `arrived`. */
export async function compare(arrived, address, model) {
  let kept = null;
  try {
    kept = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
  } catch {
    // storage that is forbidden
  }
  if (!kept) return;
  const dropped = JSON.parse(kept);
  const { sketch, enlarged } = document.documentElement.dataset;
  let found = "unknown";
  try {
    const before = Uint8Array.from(atob(dropped.image.split(",")[1]), (character) => character.charCodeAt(0));
    const { buffer, byteOffset } = [...chunks(before)][0].data;
    const width = new DataView(buffer, byteOffset).getUint32(0);
    await arrived;
    const otherSize = [sketch, enlarged].map(Number).includes(width);
    const answer = await fetch(otherSize ? `${address}&size=${width}` : address);
    if (answer.ok) found = await likeness(before, new Uint8Array(await answer.arrayBuffer()));
  } catch {
    // without both files there is nothing to compare
  }
  const words = [text(`reopened_${found}`)];
  if (found === "other" || found === "unknown") {
    if (!dropped.model) words.push(text("reopened_unsigned"));
    else if (dropped.model !== model) words.push(text("reopened_model", { model: dropped.model }));
  }
  flash(words.join(" "), 6);
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
