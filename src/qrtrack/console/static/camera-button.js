// @ts-check
// Offers the camera if the browser allows it, or else says why not. data-camera names the field that gets the code, and
// the form of the field is sent. Without a name the document gets an event `scanned`, and the camera stays open.
import { say } from "./texts.js";

const buttons = Array.from(/** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-camera]")));

reasonAgainst().then((reason) => {
  for (const button of buttons) button.hidden = Boolean(reason);
  for (const place of Array.from(document.querySelectorAll("[data-camera-reason]"))) {
    /** @type {HTMLElement} */ (place).hidden = !reason;
    place.textContent = reason && say(reason);
  }
});

for (const button of buttons) {
  button.addEventListener("click", async () => {
    const { openCamera } = await import("./camera.js");
    await openCamera((text) => give(text, button.dataset.camera ?? ""));
  });
}

/** @returns {Promise<string>} The key of the text that says why no camera can be used, or an empty text. */
async function reasonAgainst() {
  if (!isSecureContext) return "camera.insecure";
  const devices = await navigator.mediaDevices?.enumerateDevices().catch(() => []);
  return devices?.some(({ kind }) => kind === "videoinput") ? "" : "camera.none";
}

/** @param {string} text @param {string} name @returns {boolean} Whether the camera stays open. */
function give(text, name) {
  const field = document.getElementById(name);
  if (!(field instanceof HTMLInputElement)) return document.dispatchEvent(new CustomEvent("scanned", { detail: text }));
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.form?.submit();
  return false;
}
