// @ts-check
// Shows the root keys of the codes on the page. The person confirms first. The keys are only in the page: they
// disappear when it is reloaded or left. The API records in the trace who saw which keys.

import { ask } from "./asking.js";
import { send } from "./send.js";
import { tellIfSlow } from "./slow.js";
import { say, sayProblem } from "./texts.js";

const button = /** @type {HTMLButtonElement | null} */ (document.querySelector("[data-reveal]"));
const said = /** @type {HTMLElement} */ (document.getElementById("root-keys-said"));

button?.addEventListener("click", async () => {
  if (!(await ask(button.dataset.sure ?? ""))) return;
  button.disabled = true;
  const answer = await tellIfSlow(load(button.dataset.reveal ?? ""), () => tell(say("press.working")));
  if (!answer?.success) {
    button.disabled = false;
    return tell(answer ? sayProblem(answer).text : say("press.no_answer"));
  }
  tell(say("root_keys.shown", { count: answer.codes.length }));
  show(new Map(answer.codes.map((/** @type {any} */ row) => [row.code, row.root_key ?? say("root_keys.none")])));
});

/** @param {string} text */
function tell(text) {
  said.hidden = false;
  said.textContent = text;
}

/** @param {string} path @returns {Promise<any>} */
async function load(path) {
  return (await send({ path, method: "GET", body: undefined }))?.body;
}

/** @param {Map<string, string>} keys The keys by code. An empty map hides the column. */
function show(keys) {
  document.querySelectorAll("[data-root-key]").forEach((cell) => {
    /** @type {HTMLElement} */ (cell).hidden = keys.size === 0;
    const row = cell.closest("tr");
    if (row?.dataset.code) cell.textContent = keys.get(row.dataset.code) ?? "";
  });
}

// The browser may keep the page in memory and show it again after Back, so the keys are removed from it.
window.addEventListener("pagehide", () => show(new Map()));
