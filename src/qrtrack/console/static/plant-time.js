// @ts-check
// Reads a local time that somebody types as a time in the zone of data-zone. Writes it to data-instant, which
// changes.js sends.

document.addEventListener("input", ({ target }) => {
  if (!(target instanceof HTMLInputElement) || !target.dataset.zone) return;
  target.dataset.instant = target.value && instantIn(target.dataset.zone, target.value);
});

/** Returns when clocks of the zone show this time. @param {string} zone @param {string} local `2026-12-01T08:00` */
function instantIn(zone, local) {
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  // What the zone's clocks show, read as if it were UTC.
  const shownAt = (/** @type {number} */ instant) => Date.parse(`${format.format(instant).replace(" ", "T")}Z`);
  const wanted = Date.parse(`${local}Z`);
  const near = 2 * wanted - shownAt(wanted);
  // The offset is read again at `near`: between `wanted` and `near`, summer time may have begun or ended.
  return new Date(near + wanted - shownAt(near)).toISOString();
}
