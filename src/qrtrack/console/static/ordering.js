// @ts-check
// Ordering a batch: what it will make is said before it is ordered.

import { press, waitingPress } from "./send.js";
import { say } from "./texts.js";

/** @param {string} id */
const element = (id) => /** @type {any} */ (document.getElementById(id));
const form = element("order-form");

element("order-open")?.addEventListener("click", () => element("order").showModal());

form?.addEventListener("input", () => {
  const { quantity, units_per_case, serial_prefix } = values();
  const isWhole = quantity > 0 && units_per_case > 0 && serial_prefix;
  const cases = Math.ceil(quantity / units_per_case);
  const last = quantity % units_per_case || units_per_case;
  element("order-makes").textContent = isWhole
    ? say("order.makes", { quantity, prefix: serial_prefix, cases, last })
    : say("order.makes_nothing");
});

form?.addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  if (/** @type {HTMLButtonElement} */ (event.submitter).value !== "order") return;
  event.preventDefault();
  if (waitingPress()) return refuse(say("press.other"));
  const answer = await press("/api/manufacturer/batches", values());
  if (answer.ok) location.assign(`/console/batches/${answer.body.batch_id}`);
  else refuse(answer.body.errors?.[0]?.detail ?? answer.body.detail);
});

/** @param {string} why */
function refuse(why) {
  element("order-refused").textContent = why;
  element("order-refused").hidden = false;
}

function values() {
  /** @type {Record<string, FormDataEntryValue>} */
  const given = {};
  new FormData(form).forEach((value, name) => {
    given[name] = value;
  });
  return {
    ...given,
    serial_prefix: String(given.serial_prefix).trim().toUpperCase(),
    quantity: Number(given.quantity),
    units_per_case: Number(given.units_per_case),
  };
}
