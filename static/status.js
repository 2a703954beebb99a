// What the page says of its work: at the foot of the window where it matters, otherwise to screen readers alone.
const line = document.getElementById("status");
let fading = null;

function set(message, quiet) {
  clearTimeout(fading);
  line.textContent = message;
  line.className = quiet ? "quiet" : "";
}

/** Shows `message` until something else is said. */
export function say(message) {
  set(message, !message);
}

/** For screen readers alone: what everybody else can see. */
export function tell(message) {
  set(message, true);
}

/** Shows `message` for as long as it takes to read it. */
export function flash(message, seconds = 2) {
  set(message, false);
  fading = setTimeout(() => (line.className = "quiet"), seconds * 1000);
}

/** What is said just now. */
export function said() {
  return line.textContent;
}
