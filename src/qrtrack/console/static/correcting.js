// @ts-check
// Correcting one of the last cases: undo it with a reason, or move its units to the case that the box really is.

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

/** What the answer means. @param {import("./send-types.js").Answer} answer */
export function read({ body, press: { path, body: asked } }) {
  if (path.endsWith("/move-case")) {
    const values = { case: body.master_code_info.case_number, units: body.moved_count };
    return { title: say("verdict.moved", values), text: say("verdict.moved_text", values) };
  }
  const values = { case: asked.master_code.split("-C").pop().replace(/^0+/, ""), units: body.unlinked_count };
  return { title: say("verdict.undone", values), text: say("verdict.undone_text", { ...values, requeued: body.requeued }) };
}

takeScans(element("move-to"), () => element("move").close("move"));
