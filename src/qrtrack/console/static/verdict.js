// @ts-check
// The big answer, readable from two metres. An error locks the line until somebody has acknowledged it.

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

/** Scrolls there. On a small screen the title counts. */
export function reveal() {
  for (const id of ["verdict", "verdict-title"]) element(id).scrollIntoView({ block: "nearest" });
}

/** Says what comes next. Said again only when it changes: the answer is read out. @param {string} title @param {string} text */
export function showNext(title, text) {
  if (!isNext() || element("verdict-title").textContent !== title || element("verdict-text").textContent !== text) {
    show("idle", title, text);
  }
  element("verdict").dataset.next = "";
}

/** Whether nothing was begun: what stands there is only what comes next. */
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

/** Says, and sounds, that a scan was not taken. It stands there until a later scan is taken. @param {string} text */
export function tellNotTaken(text) {
  element("not-taken").textContent = text;
  soundBad();
}

export function forgetNotTaken() {
  element("not-taken").textContent = "";
}
