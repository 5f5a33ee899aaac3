// @ts-check
// For every page.
import { MINE, resume, waitingPress } from "./send.js";

// Nobody types a code so fast: it was a scanner, and its Tab ends the scan.
const SCAN_MILLISECONDS = 300;
const PACKING = "/console/packing";

// Gone once another person has signed in: then nothing refreshes itself.
const stale = document.getElementById("stale");
const tick = () => !document.hidden && stale?.isConnected && document.body.dispatchEvent(new Event("tick"));
setInterval(tick, 3000);
document.addEventListener("visibilitychange", tick);
// After a sign-out, no refresh says that the session ended.
document.getElementById("sign-out")?.addEventListener("submit", () => {
  document.addEventListener("htmx:beforeOnLoad", (event) => event.preventDefault());
});

document.addEventListener("htmx:configRequest", (event) => Object.assign(/** @type {any} */ (event).detail.headers, MINE));

// No part refreshes itself while a pointer is down: a replaced button gets no click.
let pressedUntil = 0;
for (const name of ["pointerdown", "pointerup", "pointercancel"]) {
  document.addEventListener(name, () => (pressedUntil = performance.now() + (name === "pointerdown" ? 5000 : 100)));
}

// A refreshed part keeps the focus; htmx does so only for controls with an id. An unchanged part is not replaced:
// screen readers stay quiet.
let focused = "";
const newest = new WeakMap();
document.addEventListener("htmx:beforeSwap", (event) => {
  const { detail } = /** @type {any} */ (event);
  const { requestConfig, target, xhr } = detail;
  const control = document.activeElement;
  focused = control && !control.id && target.contains(control) ? control.outerHTML : "";
  if (performance.now() < pressedUntil && requestConfig.triggeringEvent?.type === "tick") detail.shouldSwap = false;
  if (!detail.shouldSwap) return;
  if (newest.get(target) === xhr.responseText) detail.shouldSwap = false;
  newest.set(target, xhr.responseText);
});
document.addEventListener("htmx:afterSwap", ({ target }) => {
  const controls = /** @type {Element} */ (target).querySelectorAll("a, button, input, select, summary");
  const same = focused && [...controls].find((one) => one.outerHTML === focused);
  if (same) /** @type {HTMLElement} */ (same).focus({ preventScroll: true });
  focused = "";
});

// These are no submit buttons: Enter in a field would press the first one.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-close]");
  if (button) button.closest("dialog")?.close();
});

// Parts that could not be refreshed are outdated. The wall loads itself again after the next success.
for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(name, () => stale && (stale.hidden = false));
}
document.addEventListener("htmx:afterOnLoad", (event) => {
  if (!stale || stale.hidden || !(/** @type {any} */ (event).detail.successful)) return;
  stale.hidden = true;
  if ("reloads" in stale.dataset) location.reload();
});

// The packing page sends its own presses again, and shows their answers.
const waiting = waitingPress();
if (waiting && waiting.page !== PACKING) resume()?.then(() => location.reload());

// Shows what another person left unanswered in this tab; it is not sent.
if (Object.keys(sessionStorage).some((key) => key.startsWith("qrtrack."))) import("./left.js").catch(() => {});

// Shows a press that waits for longer: until its answer, every other press is refused.
const notice = document.getElementById("waiting-press");
let looked = waiting?.key;
setInterval(() => {
  const press = waitingPress();
  if (!notice) return;
  notice.hidden = !press || press.key !== looked;
  looked = press?.key;
  const link = notice.querySelector("a");
  if (!link || !press) return;
  link.hidden = press.page !== PACKING || location.pathname === PACKING;
  link.href = press.page + (press.search ?? "");
}, 1000);

// Menus close at Escape, and when something else is pressed or focused.
/** @param {(menu: Element) => boolean} isDone */
function closeMenus(isDone) {
  const menus = document.querySelectorAll("details[data-closes][open]");
  for (const menu of menus) if (isDone(menu)) menu.removeAttribute("open");
}
for (const name of ["click", "focusin"]) {
  document.addEventListener(name, (event) => closeMenus((menu) => !menu.contains(/** @type {Node} */ (event.target))));
}
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  closeMenus((menu) => {
    if (menu.contains(document.activeElement)) menu.querySelector("summary")?.focus();
    return true;
  });
});

// A scan in the search field replaces the previous one. A scanner's Tab searches, as its Enter does.
const search = /** @type {HTMLInputElement | null} */ (document.getElementById("search"));
// A quick scanner may have typed before this script was loaded.
const isTyped = search && search.value !== search.defaultValue;
let typedSince = isTyped ? performance.now() : -Infinity;
search?.addEventListener("focus", () => search.select());
search?.addEventListener("beforeinput", () => {
  if (!search.value || search.selectionEnd !== search.selectionStart) typedSince = performance.now();
});
search?.addEventListener("keydown", (event) => {
  if (event.key !== "Tab" || event.shiftKey || search.value.length < 4) return;
  if (performance.now() - typedSince > SCAN_MILLISECONDS + 20 * search.value.length) return;
  event.preventDefault();
  // Safari 15 lacks requestSubmit.
  search.form?.submit();
});
if (search && document.activeElement === search && !isTyped) search.select();
