// What every page needs: a tick for the parts that refresh themselves, but not in a hidden tab, and the delivery of a
// press that a reload or the sign-in has interrupted.
import { resume, waitingPress } from "./send.js";

const TICK_MILLISECONDS = 3000;

setInterval(() => {
  if (!document.hidden) document.body.dispatchEvent(new Event("tick"));
}, TICK_MILLISECONDS);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) document.body.dispatchEvent(new Event("tick"));
});

// A part that refreshes itself must not take the focus away from a person at the keyboard: it goes to the same control of
// the new part. Htmx keeps it itself where the control has an id.
/** @type {string | undefined} */
let focused;
document.addEventListener("htmx:beforeSwap", ({ target }) => {
  const control = document.activeElement;
  focused = control && !control.id && /** @type {Element} */ (target).contains(control) ? control.outerHTML : undefined;
});
document.addEventListener("htmx:afterSwap", ({ target }) => {
  const controls = /** @type {Element} */ (target).querySelectorAll("a, button, input, select, summary");
  const same = focused && [...controls].find((control) => control.outerHTML === focused);
  if (same) /** @type {HTMLElement} */ (same).focus({ preventScroll: true });
  focused = undefined;
});

// A button that only closes its dialog is no submit button: Enter in a field presses the first of those.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-close]");
  if (button) button.closest("dialog")?.close();
});

// The packing page delivers its own presses: it shows their answers.
const waiting = waitingPress();
if (waiting && waiting.page !== "/console/packing") resume()?.then(() => location.reload());
