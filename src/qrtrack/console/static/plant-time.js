// @ts-check
// A local time that somebody types is that of the zone that data-zone names. data-instant is what changes.js sends.

document.addEventListener("input", ({ target }) => {
  if (!(target instanceof HTMLInputElement) || !target.dataset.zone) return;
  target.dataset.instant = target.value && instantIn(target.dataset.zone, target.value);
});

/** When clocks of the zone show this local time. @param {string} zone @param {string} local `2026-12-01T08:00` */
function instantIn(zone, local) {
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  // What the zone's clocks show, read as if it were UTC.
  const shownAt = (/** @type {number} */ instant) => Date.parse(`${format.format(instant).replace(" ", "T")}Z`);
  const wanted = Date.parse(`${local}Z`);
  const near = 2 * wanted - shownAt(wanted);
  // Once more: between the two, the zone may have changed to summer time.
  return new Date(near + wanted - shownAt(near)).toISOString();
}
