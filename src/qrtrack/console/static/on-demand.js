// @ts-check
// Parts of the packing page that are loaded when somebody first needs them.

import { person } from "./send.js";
import { say } from "./texts.js";
import { element, tellNotTaken } from "./verdict.js";

const { batch = "" } = element("line").dataset;
const exclude = element("exclude");
const codes = element("exclude-codes");

/** @template T @param {Promise<T>} loading @param {(module: T) => void} [use] */
function load(loading, use = () => {}) {
  loading.then(use, () => tellNotTaken(say("press.no_answer")));
}

export const DRAFT = `qrtrack.exclude.${batch}.${person}`;
let hasExcluding = false;

function loadExcluding(use = () => {}) {
  load(import("./excluding.js"), () => {
    hasExcluding = true;
    use();
  });
}

// Keeps the list also before excluding.js is loaded.
codes.addEventListener("input", () => sessionStorage.setItem(DRAFT, codes.value));
// `input` too: the field may have got the focus before this script was loaded.
for (const name of ["focusin", "input"]) exclude.addEventListener(name, () => loadExcluding(), { once: true });
// `submit` too: in Safari a pressed button does not get the focus.
exclude.addEventListener("submit", (/** @type {Event} */ event) => {
  if (hasExcluding) return;
  event.preventDefault();
  loadExcluding(() => document.getElementById("submit-job")?.click());
});

// Scan fields show no on-screen keyboard until somebody presses the button for it.
document.addEventListener("click", (event) => {
  const names = event.target instanceof Element && event.target.closest("[data-types]")?.getAttribute("data-types");
  if (!names) return;
  const fields = names.split(" ").map((id) => element(id));
  for (const field of fields) field.inputMode = "text";
  (fields.find((field) => !field.value) ?? fields[0]).focus();
});

const each = element("each");
each.checked = localStorage.getItem("qrtrack.each") === "true";
if (each.checked) load(import("./each-unit.js"));
else each.addEventListener("change", () => load(import("./each-unit.js")), { once: true });

// The explanation stays folded after somebody has folded it.
const modes = element("modes");
modes.open = localStorage.getItem("qrtrack.modes") !== "known";
modes.addEventListener("toggle", () => modes.open || localStorage.setItem("qrtrack.modes", "known"));

let hasChanges = false;
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("button");
  if (!button) return;
  if ("undo" in button.dataset || "move" in button.dataset) load(import("./correcting.js"), ({ correct }) => correct(button));
  if (!("path" in button.dataset) || hasChanges) return;
  // No second click: the button may have been replaced meanwhile.
  load(import("./changes.js"), ({ change }) => {
    hasChanges = true;
    change(button, {});
  });
});

// Continues what the tab has begun before a reload, for this batch or another one.
const kept = codes.value || sessionStorage.getItem(DRAFT);
if (kept || Object.keys(sessionStorage).some((key) => key.startsWith("qrtrack.reverse-job."))) loadExcluding();
