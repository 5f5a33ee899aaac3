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

// A part that is as it was is not put in anew: the focus stays on its buttons, and screen readers stay quiet.
const newest = new WeakMap();
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr, shouldSwap } = event.detail;
  if (!shouldSwap) return;
  if (newest.get(target) === xhr.responseText) event.detail.shouldSwap = false;
  newest.set(target, xhr.responseText);
});

// A button that only closes its dialog is no submit button: Enter in a field presses the first of those.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-close]");
  if (button) button.closest("dialog")?.close();
});

// The packing page delivers its own presses: it shows their answers.
const waiting = waitingPress();
if (waiting && waiting.page !== "/console/packing") resume()?.then(() => location.reload());
