// @ts-check
// Two tones that nobody confuses: one high tone for a success, two low ones for an error. Browsers are silent until
// the first touch of the page, so a press of "Start shift" makes them able to sound.

/** @type {AudioContext | null} */
let audio = null;

/** To be called in answer to a press. Also keeps the screen on, where the browser can. */
export async function startShift() {
  audio ??= new AudioContext();
  await audio.resume();
  await keepScreenOn();
  tone(1320, 0, 0.08);
}

/** Only a secure context has it; over plain http the tablet's own setting keeps the screen on. */
async function keepScreenOn() {
  await navigator.wakeLock?.request("screen").catch(() => {});
}

// The browser lets the screen go off again when its tab is hidden, and may stop the sound.
document.addEventListener("visibilitychange", () => {
  if (!audio || document.hidden) return;
  audio.resume();
  keepScreenOn();
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
