// The table as one picture, with its names and headings, to save.
const CELL = Number(document.documentElement.dataset.picture);
const GAP = 12;
const LEFT = 240;
const TOP = 64;
const button = document.getElementById("save-table");
const by = document.getElementById("by");
const word = document.querySelector(".of");

/** `text` in lines that fit into `width`. */
function wrapped(context, text, width) {
  const lines = [""];
  for (const letter of text) {
    if (context.measureText(lines.at(-1) + letter).width <= width) {
      lines[lines.length - 1] += letter;
      continue;
    }
    const space = lines.at(-1).lastIndexOf(" ");
    if (space > 0) {
      const rest = lines.at(-1).slice(space + 1);
      lines[lines.length - 1] = lines.at(-1).slice(0, space);
      lines.push(rest + letter);
    } else lines.push(letter);
  }
  return lines;
}

async function draw() {
  const rows = [...document.querySelectorAll(".grid tbody tr")];
  const headings = [...document.querySelectorAll(".grid thead th")].map((cell) => cell.textContent);
  const style = getComputedStyle(document.documentElement);
  const canvas = document.createElement("canvas");
  canvas.width = LEFT + headings.length * (CELL + GAP);
  canvas.height = TOP + rows.length * (CELL + GAP);
  const context = canvas.getContext("2d");
  context.fillStyle = style.getPropertyValue("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = style.getPropertyValue("--ink");
  context.font = `700 24px ${style.getPropertyValue("--display")}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  headings.forEach((text, x) => context.fillText(text, LEFT + x * (CELL + GAP) + CELL / 2, TOP / 2, CELL));
  for (const [y, row] of rows.entries()) {
    const top = TOP + y * (CELL + GAP);
    const lines = wrapped(context, row.querySelector("th").textContent, LEFT - 2 * GAP);
    lines.forEach((line, k) => context.fillText(line, LEFT / 2, top + CELL / 2 + (k - (lines.length - 1) / 2) * 32));
    for (const [x, image] of [...row.querySelectorAll("img")].entries()) {
      await image.decode();
      context.drawImage(image, LEFT + x * (CELL + GAP), top, CELL, CELL);
    }
  }
  return canvas.toDataURL("image/png");
}

button?.addEventListener("click", async () => {
  const link = document.createElement("a");
  link.href = await draw();
  link.download = "table.png";
  link.click();
});

const fit = () => (word.hidden = by.value === "plates");
by.addEventListener("change", fit);
fit();
