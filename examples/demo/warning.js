// Warns before the session ends, and offers to stay signed in. Without this script, the pages work as they are.

const box = document.querySelector(".warning");
const [status, button] = box.children;
const warnAt = Number(box.dataset.warnAt);
let endsAt = Date.now() + box.dataset.seconds * 1000;
let canStay = box.dataset.canStay === "true";
let nextLook = 0;
let asked = 0;

/** Asks the server when the session ends. A GET records no use, a POST does. Returns whether the answer counts. */
async function ask(method) {
  const number = ++asked;
  const response = await fetch("/session/end", { method, cache: "no-store" });
  if (!response.ok) throw new Error(`${method} /session/end: ${response.status}`);
  const end = await response.json();
  // The answer to an older question can come late.
  if (number !== asked) return false;
  endsAt = Date.now() + end.seconds * 1000;
  canStay = end.canStay;
  // The sign-in page says why. What is on the screen may be private.
  if (end.seconds === 0) location.assign("/");
  dispatchEvent(new CustomEvent("sessionend", { detail: endsAt }));
  return true;
}

const isNear = () => endsAt - Date.now() <= warnAt * 1000;

async function look() {
  if (Date.now() < nextLook) return;
  if (!isNear()) return say("");
  // Every five seconds from now on.
  nextLook = Date.now() + 5000;
  // Another tab may have used the session. If the server does not answer, what it said before counts.
  if (!await ask("GET").catch(() => true)) return;
  if (!isNear()) return say("");
  const soon = `Your session ends in less than ${warnAt} seconds`;
  say(
    canStay ? `${soon}.` : `${soon}, ${box.dataset.absoluteMinutes} minutes after sign-in.`,
    canStay,
  );
}

/** Shows a text, and the button if it helps. A text that stays is not announced again. */
function say(text, hasButton = false) {
  if (status.textContent !== text) status.textContent = text;
  button.hidden = !hasButton;
  box.classList.toggle("shown", text !== "");
}

let focused;
button.addEventListener("focus", ({ relatedTarget }) => focused = relatedTarget);
button.addEventListener("click", async () => {
  // No question while the answer to this one is under way.
  nextLook = Infinity;
  const hasAnswer = await ask("POST").catch(() => false);
  nextLook = Date.now() + 5000;
  if (!hasAnswer) return say("The server does not answer. Try again.", true);
  // The absolute timeout is as near, or the session has ended.
  if (isNear()) return nextLook = 0;
  // The button goes, so the focus goes back to where the user was.
  (focused ?? document.querySelector("#content")).focus();
  say("You are still signed in.");
});

look();
setInterval(look, 250);
