// @ts-check
// Correcting one of the last cases: undo it with a reason, or move its units to the case that the box really is.

import { change } from "./packing.js";

/** @param {string} id */
const element = (id) => /** @type {any} */ (document.getElementById(id));

/** @type {{masterCode: string} | null} */
let chosen = null;

document.getElementById("recent")?.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("button");
  if (!button) return;
  const { undo, move, title } = button.dataset;
  chosen = { masterCode: /** @type {string} */ (undo ?? move) };
  const dialog = element(undo ? "undo" : "move");
  element(`${dialog.id}-title`).textContent = title;
  element(undo ? "undo-reason" : "move-to").value = "";
  dialog.showModal();
});

element("undo").addEventListener("close", () => {
  if (element("undo").returnValue !== "undo" || !chosen) return;
  change("/api/manufacturer/unlink-from-master", { master_code: chosen.masterCode, reason: element("undo-reason").value });
});

element("move").addEventListener("close", () => {
  if (element("move").returnValue !== "move" || !chosen) return;
  change("/api/manufacturer/move-case", {
    from_master_code: chosen.masterCode,
    to_master_code: element("move-to").value.trim(),
    reason: element("move").dataset.reason,
  });
});
