// @ts-check
// The big answer, readable from two metres. After an error no scan is taken until somebody has acknowledged it.

import { soundBad } from "./sounds.js";
import { say } from "./texts.js";

/** @typedef {{label: string, run: () => void}} Choice */

/** @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);
let locked = false;

export function isLocked() {
  return locked;
}

/** @param {"idle" | "busy" | "good" | "bad" | "warn"} kind @param {string} title @param {string} text */
export function show(kind, title, text) {
  locked = kind === "bad";
  element("verdict").className = `verdict ${kind}`;
  element("verdict-title").textContent = title;
  element("verdict-text").textContent = text;
  element("choices").replaceChildren();
  element("missing").hidden = true;
  delete element("verdict").dataset.next;
  if (kind !== "idle") reveal();
}

/** Scrolls to the answer. On a small screen at least its title is in view. */
export function reveal() {
  for (const id of ["verdict", "verdict-title"]) element(id).scrollIntoView({ block: "nearest" });
}

/** Says what comes next. An unchanged text stays: a screen reader would read it again. @param {string} title @param {string} text */
export function showNext(title, text) {
  if (!isNext() || element("verdict-title").textContent !== title || element("verdict-text").textContent !== text) {
    show("idle", title, text);
  }
  element("verdict").dataset.next = "";
}

/** Returns whether nothing was begun: the answer only says what comes next. */
export function isNext() {
  return "next" in element("verdict").dataset;
}

export function showWaiting() {
  show("warn", say("verdict.waiting"), say("verdict.waiting_text"));
}

/** @param {string} title @param {string} text @param {Choice[]} choices The last one acknowledges the error. */
export function showError(title, text, choices) {
  show("bad", title, text);
  element("choices").replaceChildren(
    ...choices.map(({ label, run }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", run);
      return button;
    }),
  );
  reveal();
}

/** Says that a scan was not taken, with a sound. The text stays until a later scan is taken. @param {string} text */
export function tellNotTaken(text) {
  element("not-taken").textContent = text;
  soundBad();
}

export function forgetNotTaken() {
  element("not-taken").textContent = "";
}
