// @ts-check
// Scans with the camera of a phone. This module is loaded when the camera's button is pressed. Codes are read by the
// browser's own BarcodeDetector, or by WebAssembly in a worker.

import { Sightings, aimedAt } from "./sightings.js";
import { say } from "./texts.js";

const FORMATS = ["qr_code", "code_128", "data_matrix", "ean_13", "code_39"];
const PICTURES_A_SECOND = 10;
const VIDEO = { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } };

/** @typedef {(picture: ImageData) => Promise<import("./sightings.js").Seen[]>} Reader */

// The panel is no dialog, so that hand scanners and the keys of the page keep working.
const panel = /** @type {HTMLElement} */ (document.getElementById("camera"));
const video = /** @type {HTMLVideoElement} */ (panel.querySelector("video"));
const closing = /** @type {HTMLButtonElement} */ (document.getElementById("camera-close"));
const said = /** @type {HTMLElement} */ (document.getElementById("camera-said"));
const torch = /** @type {HTMLButtonElement} */ (document.getElementById("camera-torch"));
const canvas = document.createElement("canvas");
/** @type {MediaStream | null} */
let stream = null;
/** @type {Promise<Reader> | null} */
let reader = null;

closing.addEventListener("click", close);
document.addEventListener("keydown", (event) => event.key === "Escape" && close());
document.addEventListener("visibilitychange", () => document.hidden && close());
torch.addEventListener("click", () => light(torch.getAttribute("aria-pressed") !== "true"));

/**
 * Shows what the camera sees, until `onCode` ends it or the person closes it.
 * @param {(text: string) => boolean} onCode Called with each code. Returns whether to go on: then the same code counts
 *   again only after it was out of view.
 */
export async function openCamera(onCode) {
  if (!panel.hidden) return;
  said.textContent = say("camera.starting");
  panel.hidden = false;
  closing.focus();
  try {
    await start();
    const read = await (reader ??= makeReader());
    said.textContent = say("camera.aim");
    await watch(read, onCode);
  } catch (error) {
    reader = null;
    stop();
    said.textContent = reasonOf(/** @type {Error} */ (error));
  }
}

async function start() {
  stream = await navigator.mediaDevices.getUserMedia({ video: VIDEO });
  if (panel.hidden) return stop();
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", close);
  torch.hidden = !(/** @type {any} */ (track.getCapabilities?.())?.torch);
  torch.setAttribute("aria-pressed", "false");
  video.srcObject = stream;
  await video.play();
}

function close() {
  panel.hidden = true;
  stop();
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  video.srcObject = null;
}

/** @param {Reader} read @param {(text: string) => boolean} onCode */
async function watch(read, onCode) {
  const sightings = new Sightings();
  while (stream) {
    const picture = middleOf(video);
    const text = sightings.take(aimedAt(await read(picture), picture));
    if (text && stream) {
      navigator.vibrate?.(80);
      said.textContent = say("camera.read", { code: text });
      if (!onCode(text)) return close();
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 / PICTURES_A_SECOND));
  }
}

/** The square in the middle, which the person sees. @param {HTMLVideoElement} video */
function middleOf({ videoWidth: width, videoHeight: height }) {
  const side = Math.min(width, height);
  canvas.width = canvas.height = side;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(video, (width - side) / 2, (height - side) / 2, side, side, 0, 0, side, side);
  return context.getImageData(0, 0, side, side);
}

/** @returns {Promise<Reader>} */
async function makeReader() {
  const Native = /** @type {any} */ (globalThis).BarcodeDetector;
  /** @type {string[]} */
  const supported = Native ? await Native.getSupportedFormats() : [];
  const formats = FORMATS.filter((format) => supported.includes(format));
  if (!formats.includes("qr_code")) return readInWorker();
  const detector = new Native({ formats });
  return (picture) => detector.detect(picture);
}

/** @returns {Reader} */
function readInWorker() {
  const worker = new Worker("/console/static/camera-worker.js");
  return (picture) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.codes));
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage({ formats: FORMATS, picture }, [picture.data.buffer]);
    });
}

/** @param {boolean} isOn */
async function light(isOn) {
  const torchOn = /** @type {any} */ ({ advanced: [{ torch: isOn }] });
  await stream?.getVideoTracks()[0].applyConstraints(torchOn);
  torch.setAttribute("aria-pressed", String(isOn));
}

/** @param {Error} error */
function reasonOf(error) {
  if (error.name === "NotAllowedError") return say("camera.denied");
  if (error.name === "NotReadableError") return say("camera.busy");
  return say("camera.failed", { reason: error.message });
}
