// Every picture but those that the order form and the counter wait for themselves: what a full kitchen, or an
// allowance that is used up, has refused is asked for again when it says.
import { arrived, Refused } from "./api.js";
import { said, say } from "./status.js";
import { text } from "./texts.js";

const OTHERS = ".picture, .sketch";
const waiting = new Set();
let working = false;

async function insist(image) {
  while (image.isConnected) {
    try {
      return await arrived(image);
    } catch (error) {
      if (!(error instanceof Refused) || error.retryAfter === null) return; // it stays as it is, with its name beside it
      const message = `${error.message} ${text("retrying", { seconds: error.retryAfter })}`;
      if (!said()) say(message);
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
      if (said() === message) say("");
    }
  }
}

async function wait(image) {
  if (image.matches(OTHERS)) return;
  waiting.add(image);
  if (working) return;
  working = true;
  for (const one of waiting) {
    await insist(one);
    waiting.delete(one);
  }
  working = false;
}

// Errors of pictures do not bubble.
addEventListener("error", ({ target }) => target instanceof HTMLImageElement && wait(target), true);
for (const image of document.images) if (image.complete && !image.naturalWidth) wait(image);
