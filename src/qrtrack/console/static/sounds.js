// @ts-check
// One high tone for a success, two low ones for an error. Browsers are silent until a press: "Start shift" is one.

/** @type {AudioContext | null} */
let audio = null;

/** Switches the sounds on; call it in answer to a press. Also keeps the screen on, if the browser can. */
export async function startShift(isPress = true) {
  audio ??= new AudioContext();
  await audio.resume();
  // Over plain http the tablet's own setting does.
  await navigator.wakeLock?.request("screen").catch(() => {});
  if (isPress) tone(1320, 0, 0.08);
}

// A hidden tab loses the sounds and the wake lock.
document.addEventListener("visibilitychange", () => {
  if (audio && !document.hidden) startShift(false);
});

export function soundGood() {
  tone(1320, 0, 0.12);
}

export function soundBad() {
  tone(220, 0, 0.18);
  tone(220, 0.26, 0.18);
}

/** @param {number} hertz @param {number} delay seconds @param {number} seconds */
function tone(hertz, delay, seconds) {
  if (audio?.state !== "running") return;
  const oscillator = new OscillatorNode(audio, { frequency: hertz, type: "square" });
  const gain = new GainNode(audio, { gain: 0.2 });
  oscillator.connect(gain).connect(audio.destination);
  oscillator.start(audio.currentTime + delay);
  oscillator.stop(audio.currentTime + delay + seconds);
}
