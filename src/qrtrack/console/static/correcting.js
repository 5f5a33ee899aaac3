// @ts-check
// Correcting one of the last cases: undo it with a reason, or move its units to the case that the box really is.

import { change } from "./packing.js";
import { takeScans } from "./scan-field.js";

/** @param {string} id */
const element = (id) => /** @type {any} */ (document.getElementById(id));
let masterCode = "";

/** @param {HTMLButtonElement} button */
export function correct(button) {
  const { undo, move, title } = button.dataset;
  masterCode = undo ?? move ?? "";
  const dialog = element(undo ? "undo" : "move");
  element(`${dialog.id}-title`).textContent = title;
  element(undo ? "undo-reason" : "move-to").value = "";
  // Escape leaves the answer of the last time.
  dialog.returnValue = "";
  dialog.showModal();
}

element("undo").addEventListener("close", () => {
  if (element("undo").returnValue !== "undo") return;
  change("/api/manufacturer/unlink-from-master", { master_code: masterCode, reason: element("undo-reason").value });
});

element("move").addEventListener("close", () => {
  if (element("move").returnValue !== "move") return;
  change("/api/manufacturer/move-case", {
    from_master_code: masterCode,
    to_master_code: element("move-to").value.trim(),
    reason: element("move").dataset.reason,
  });
});

takeScans(element("move-to"), () => element("move").close("move"));
