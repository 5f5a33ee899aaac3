// @ts-check
// A part of the page that a person asked for says after a second that it comes, or that it does not.

import { tellIfSlow } from "./slow.js";
import { say } from "./texts.js";

document.addEventListener("htmx:beforeRequest", (event) => {
  const { target, xhr, requestConfig } = /** @type {any} */ (event).detail;
  if (!["click", "input", "preset"].includes(requestConfig.triggeringEvent?.type)) return;
  let isTold = false;
  const ended = new Promise((resolve) => xhr.addEventListener("loadend", resolve));
  tellIfSlow(ended, () => {
    isTold = true;
    target.textContent = say("press.working");
  }).then(() => {
    if (isTold && !xhr.status) target.textContent = say("press.no_answer");
  });
});
