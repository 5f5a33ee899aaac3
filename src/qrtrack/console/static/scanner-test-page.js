// @ts-check
// Shows what scanner-test.js finds out about a scanner. The page listens to keys wherever the focus is, except in a
// field.
import { ScannerTest } from "./scanner-test.js";
import { say } from "./texts.js";

/** @typedef {import("./scanner-test.js").Finding} Finding */

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const list = element("findings");
const test = new ScannerTest({ onResult: show, expected: list.dataset.label });

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement) return;
  if (test.press(event)) event.preventDefault();
});

element("print-label").addEventListener("click", () => print());

/** @param {Finding[]} findings @param {import("./scan-types.js").Scan} scan */
function show(findings, scan) {
  const wrong = findings.filter(({ isGood }) => !isGood);
  element("scanner-verdict").className = `verdict ${wrong.length ? "warn" : "good"}`;
  element("scanner-title").textContent = wrong.length ? say("scanner.to_change", { count: wrong.length }) : say("scanner.all_good");
  element("scanner-text").textContent = say(wrong.length ? "scanner.to_change_text" : "scanner.all_good_text");
  element("findings-card").hidden = false;
  element("typed").textContent = scan.raw;
  element("scanner-verdict").scrollIntoView({ block: "nearest" });
  list.replaceChildren(...[...wrong, ...findings.filter(({ isGood }) => isGood)].map(itemOf));
}

/** @param {Finding} finding */
function itemOf({ key, isGood, params }) {
  const item = document.createElement("li");
  const badge = document.createElement("span");
  const name = document.createElement("strong");
  const text = document.createElement("p");
  badge.className = `badge ${isGood ? "good" : "warn"}`;
  badge.textContent = say(isGood ? "scanner.right" : "scanner.change");
  name.textContent = say(`scanner.name.${key.split(".")[1]}`);
  text.textContent = say(key, inWords(params));
  item.append(name, badge, text);
  return item;
}

/** Replaces the layouts by the names that manuals use. @param {Finding["params"]} params */
function inWords(params) {
  const words = { ...params };
  for (const name of ["keyboard", "computer", "scanner"]) {
    if (name in params) words[name] = say(`scanner.keyboard.${params[name] || "other"}`);
  }
  return words;
}
