// @ts-check
// The texts that the page brings for its scripts, in the person's language.

const spoken = JSON.parse(document.getElementById("spoken")?.textContent ?? "{}");
const numbers = new Intl.NumberFormat(spoken.language);

/** @param {string} key @param {Record<string, unknown>} [values] */
export function say(key, values = {}) {
  return fill(spoken.texts[key], values);
}

/** @param {string} key */
export function isKnown(key) {
  return key in spoken.texts;
}

/**
 * Fills in the {names} of a text. Numbers are written as the language does.
 * @param {string} text @param {Record<string, unknown>} values @param {(value: string) => string} [escaped]
 */
export function fill(text, values, escaped) {
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    if (escaped) return escaped(String(value ?? ""));
    return typeof value === "number" ? numbers.format(value) : String(value ?? "–");
  });
}

/**
 * What a refusal of the API says: a title, and a sentence with what to do.
 * @param {{type?: string, detail?: string, master_code_info?: object} & Record<string, unknown>} problem
 */
export function sayProblem(problem) {
  const key = `problem.${(problem.type ?? "").split(":").pop()}`;
  if (!isKnown(`${key}_text`)) {
    return { title: say("problem.title"), text: say("problem.unknown", { detail: problem.detail }) };
  }
  const values = { ...problem, ...problem.master_code_info };
  return { title: say(key, values), text: say(`${key}_text`, values) };
}
