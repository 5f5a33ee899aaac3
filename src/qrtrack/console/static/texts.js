// @ts-check
// The texts that the page contains for its scripts, in the person's language.

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
 * Fills in the {names} of a text. Numbers are written as in the person's language. {count:unit|units}: the first word for 1.
 * @param {string} text @param {Record<string, unknown>} values @param {(value: string) => string} [escaped]
 */
export function fill(text, values, escaped) {
  return text.replace(/\{(\w+)(?::(.*?)\|(.*?))?\}/g, (_, name, one, many) => {
    const value = values[name];
    if (many) return value === 1 ? one : many;
    if (escaped) return escaped(String(value ?? ""));
    return typeof value === "number" ? numbers.format(value) : String(value ?? "–");
  });
}

/** @param {number} count */
export function atLeast(count) {
  return `${numbers.format(count)}+`;
}

/**
 * The text for a refusal of the API: what is wrong, and what to do, from the first of the sections that has it. The
 * texts in `problem` are about packing.
 * @param {{type?: string, master_code_info?: object} & Record<string, unknown>} problem
 * @param {string[]} [sections]
 */
export function sayProblem(problem, sections = ["problem"]) {
  const keys = sections.map((section) => `${section}.${(problem.type ?? "").split(":").pop()}`);
  const key = keys.find((known) => isKnown(`${known}_text`));
  if (!key) {
    return { title: say("problem.title"), text: say("problem.unknown", { detail: problem.detail }) };
  }
  const values = { ...problem, ...problem.master_code_info };
  return { title: say(key, values), text: say(`${key}_text`, values) };
}
