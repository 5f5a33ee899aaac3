// @ts-check
// A question to the person, before something is done.

/** Asks the person. @param {string} question @returns {Promise<boolean>} */
export function ask(question) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("sure"));
  /** @type {HTMLElement} */ (document.getElementById("sure-question")).textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
