// @ts-check
// Asks the person to confirm before something is done.

/** Resolves to true if the person answers yes. @param {string} question @returns {Promise<boolean>} */
export function ask(question) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("sure"));
  /** @type {HTMLElement} */ (document.getElementById("sure-question")).textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
