// What the page asks of the server. See /docs for the API.

/** The server's answer that it will not, or not now: `retryAfter` is in seconds, or null. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.message);
    this.code = problem.code;
    this.retryAfter = problem.retry_after ?? null;
  }
}

async function ask(address, options) {
  const response = await fetch(address, options);
  if (response.ok) return response;
  const body = await response.json();
  throw new Refused(body.error);
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
