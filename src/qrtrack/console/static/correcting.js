// @ts-check
// Corrects one of the last cases: undoes it with a reason, or moves its units to the case that the box really is.

import { change } from "./packing.js";
import { takeScans } from "./scan-field.js";
import { say } from "./texts.js";
import { element } from "./verdict.js";

let masterCode = "";

/** @param {HTMLButtonElement} button */
export function correct(button) {
  const { undo, move, title } = button.dataset;
  masterCode = undo ?? move ?? "";
  const dialog = element(undo ? "undo" : "move");
  element(`${dialog.id}-title`).textContent = title;
  element(undo ? "undo-reason" : "move-to").value = "";
  // If Escape closes the dialog, the browser keeps the previous return value.
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

/** Returns title and text for the answer. @param {import("./send-types.js").Answer} answer */
export function read({ body, press: { path, body: asked } }) {
  if (path.endsWith("/move-case")) {
    const values = { case: body.master_code_info.case_number, units: body.moved_count };
    return { title: say("verdict.moved", values), text: say("verdict.moved_text", values) };
  }
  const values = { case: asked.master_code.split("-C").pop().replace(/^0+/, ""), units: body.unlinked_count };
  return { title: say("verdict.undone", values), text: say("verdict.undone_text", { ...values, requeued: body.requeued }) };
}

takeScans(element("move-to"), () => element("move").close("move"));
