// @ts-check
// Ordering a batch: says in advance what the order will make. changes.js sends the form.

import { fieldsOf } from "./changes.js";
import { say } from "./texts.js";

const form = /** @type {HTMLFormElement | null} */ (document.getElementById("order-form"));

form?.addEventListener("input", () => {
  const quantityField = /** @type {HTMLInputElement} */ (form.elements.namedItem("quantity"));
  const { variants, units_per_case: unitsPerCase, serial_prefix: prefix } = /** @type {any} */ (fieldsOf(form));
  // With variants, the quantity is their sum.
  quantityField.disabled = Boolean(variants);
  const quantities = variants ? variants.map((/** @type {any} */ part) => part.quantity) : [Number(quantityField.value)];
  const quantity = quantities.reduce((/** @type {number} */ sum, /** @type {number} */ part) => sum + part, 0);
  if (variants) quantityField.value = String(quantity);
  const isWhole = quantities.every((/** @type {number} */ part) => part > 0) && unitsPerCase > 0 && prefix;
  const makes = /** @type {HTMLElement} */ (document.getElementById("order-makes"));
  makes.textContent = isWhole ? whatItMakes(quantities, unitsPerCase, prefix) : say("order.makes_nothing");
});

/**
 * Returns what the order will make. Cases are counted for each variant: no case holds two variants.
 * @param {number[]} quantities @param {number} unitsPerCase @param {string} prefix
 */
function whatItMakes(quantities, unitsPerCase, prefix) {
  const quantity = quantities.reduce((sum, part) => sum + part, 0);
  const cases = quantities.reduce((sum, part) => sum + Math.ceil(part / unitsPerCase), 0);
  const last = quantities[quantities.length - 1] % unitsPerCase || unitsPerCase;
  const text = quantities.length > 1 ? "order.makes_variants" : "order.makes";
  return say(text, { quantity, prefix, cases, last, variants: quantities.length });
}

// Makes a random order id, for plants without an ordering system.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-makes-id]");
  if (!(button instanceof HTMLButtonElement)) return;
  const field = button.form?.elements.namedItem(button.dataset.makesId ?? "");
  if (!(field instanceof HTMLInputElement)) return;
  const hex = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0"));
  hex[6] = `4${hex[6][1]}`;
  hex[8] = `a${hex[8][1]}`;
  field.value = [[0, 4], [4, 6], [6, 8], [8, 10], [10, 16]].map(([from, to]) => hex.slice(from, to).join("")).join("-");
});
