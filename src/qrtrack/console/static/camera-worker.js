// Finds codes in the pictures of the camera. The Content-Security-Policy of this file allows WebAssembly; that of the
// pages does not.
importScripts("/console/static/barcode-detector.js");

BarcodeDetectionAPI.prepareZXingModule({ overrides: { locateFile: (name) => `/console/static/${name}` } });

let detector;

self.addEventListener("message", async ({ data: { formats, picture } }) => {
  try {
    detector ??= new BarcodeDetectionAPI.BarcodeDetector({ formats });
    const found = await detector.detect(picture);
    self.postMessage({ codes: found.map(({ rawValue, boundingBox: { x, y, width, height } }) => {
      return { rawValue, boundingBox: { x, y, width, height } };
    }) });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
});
