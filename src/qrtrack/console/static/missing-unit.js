// @ts-check
// More codes in question than fit on a tablet as buttons: then the code is scanned or typed.

/** @param {(code: string) => void} take */
export function askForCode(take) {
  const form = /** @type {HTMLFormElement} */ (document.getElementById("missing"));
  const field = /** @type {HTMLInputElement} */ (document.getElementById("missing-code"));
  form.hidden = false;
  field.value = "";
  form.onsubmit = (event) => {
    event.preventDefault();
    take(field.value.trim());
  };
}
