// @ts-check
// When a person asked for a part of the page: after a second its place says that the answer is on the way, or, if the
// request failed, that there is no answer.

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
