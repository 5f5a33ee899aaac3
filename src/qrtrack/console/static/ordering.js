// @ts-check
// Ordering a batch: what it will make is said before it is ordered. changes.js sends it.

import { fieldsOf } from "./changes.js";
import { say } from "./texts.js";

const form = /** @type {HTMLFormElement | null} */ (document.getElementById("order-form"));

form?.addEventListener("input", () => {
  const { quantity, units_per_case: unitsPerCase, serial_prefix: prefix } = /** @type {any} */ (fieldsOf(form));
  const isWhole = quantity > 0 && unitsPerCase > 0 && prefix;
  const cases = Math.ceil(quantity / unitsPerCase);
  const last = quantity % unitsPerCase || unitsPerCase;
  const makes = /** @type {HTMLElement} */ (document.getElementById("order-makes"));
  makes.textContent = isWhole ? say("order.makes", { quantity, prefix, cases, last }) : say("order.makes_nothing");
});
