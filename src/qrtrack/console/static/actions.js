// @ts-check
// Buttons that call the API: data-path and data-body say what is sent, data-sure what is asked before.

import { press, waitingPress } from "./send.js";

document.addEventListener("click", async (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("button");
  const { path, body, sure } = button?.dataset ?? {};
  if (!button || !path || waitingPress() || (sure && !confirm(sure))) return;
  button.disabled = true;
  const answer = await press(path, JSON.parse(body ?? "{}"));
  const refused = document.getElementById("refused");
  if (refused) {
    refused.hidden = answer.ok;
    refused.textContent = answer.ok ? "" : answer.body.detail;
  }
  document.body.dispatchEvent(new Event("tick"));
});
