// @ts-check
// Calls `tell` if an answer takes more than a second, so that the person learns that the work still runs.

const SLOW_MILLISECONDS = 1000;

/** @template T @param {Promise<T>} answer @param {() => void} tell @returns {Promise<T>} */
export function tellIfSlow(answer, tell) {
  const timer = setTimeout(tell, SLOW_MILLISECONDS);
  return answer.finally(() => clearTimeout(timer));
}
