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

// On a phone the navigation scrolls, and begins at the page that is open.
document.querySelector(".pages [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// A button that only closes its dialog is no submit button: Enter in a field presses the first of those.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-close]");
  if (button) button.closest("dialog")?.close();
});

// The packing page delivers its own presses: it shows their answers.
const waiting = waitingPress();
if (waiting && waiting.page !== "/console/packing") resume()?.then(() => location.reload());
