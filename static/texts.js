// The words of the page's language, put into the page by the server.
const words = JSON.parse(document.getElementById("texts").textContent);

/** The words for `key`, with its {placeholders} filled from `values`. */
export function text(key, values = {}) {
  return words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
