// What the pages ask of the server. See /docs for the API.

import { text } from "./texts.js";

/** The server's answer that it will not, or not now: `retryAfter` is in seconds, or null. */
export class Refused extends Error {
  constructor(response, message) {
    const after = response.headers.get("Retry-After");
    // Proxies may give a date, by their own clock.
    const now = Date.parse(response.headers.get("Date")) || Date.now();
    const seconds = Number(after) || Math.ceil((Date.parse(after) - now) / 1000);
    const retryAfter = seconds > 0 ? seconds : null;
    // A proxy in front says this in words of its own, which are not for visitors.
    super(message ?? text(retryAfter === null ? "offline" : "error.queue_full"));
    this.retryAfter = retryAfter;
  }
}

function messageIn(body) {
  try {
    return JSON.parse(body).error.message;
  } catch {
    return null; // not of this server
  }
}

async function ask(address, options) {
  const response = await fetch(address, options);
  if (response.ok) return response;
  throw new Refused(response, messageIn(await response.text()));
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

/** Orders `fields` (name, n and perhaps seed) at `address`; yields the events of the answer as they come. */
export async function* order(address, fields, signal) {
  const response = await ask(address, {
    method: "POST",
    headers: { Accept: "application/x-ndjson" },
    body: new URLSearchParams(fields),
    signal,
  });
  let finished = false;
  for await (const line of lines(response.body)) {
    const event = JSON.parse(line);
    finished ||= event.event === "done";
    yield event;
  }
  if (!finished) throw new TypeError("the answer ended early");
}

/** A name that nobody has written before. */
export async function surprise(address) {
  const response = await ask(address, { headers: { Accept: "application/json" } });
  return (await response.json()).name;
}

/** Waits for `image`; one that has not come is asked for again, and Refused says why where it still may not. */
export async function arrived(image, signal) {
  if (await image.decode().then(() => true, () => false)) return;
  await ask(image.src, { signal });
  image.src = String(image.src);
  await image.decode();
}
