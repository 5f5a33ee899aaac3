// Types the cases of scans.json into a Scanner, in a time of its own.
import { Scanner } from "/console/static/scan.js";
import { ScannerTest } from "/console/static/scanner-test.js";

const SHIFTED = '~!@#$%^&*()_+{}|:"<>?';
const PLAIN = "`1234567890-=[]\\;',./";
const CODES = {
  "`": "Backquote", "-": "Minus", "=": "Equal", "[": "BracketLeft", "]": "BracketRight", "\\": "Backslash",
  ";": "Semicolon", "'": "Quote", ",": "Comma", ".": "Period", "/": "Slash", " ": "Space", "\n": "Enter", "\t": "Tab",
};
const UNSHIFTED = Object.fromEntries(Array.from(SHIFTED, (char, at) => [char, PLAIN[at]]));
const NAMES = { "\n": "Enter", "\t": "Tab" };

/** The US key of a character. */
function keyOf(char) {
  const plain = UNSHIFTED[char] ?? char.toLowerCase();
  const code = /[a-z]/.test(plain) ? `Key${plain.toUpperCase()}` : /\d/.test(plain) ? `Digit${plain}` : CODES[plain];
  return { code: code ?? "", shiftKey: char in UNSHIFTED || /[A-Z]/.test(char) };
}

class Typing {
  constructor(make, { steps }) {
    this.time = 1000;
    this.timers = [];
    this.wrong = [];
    this.scanner = make((callback, milliseconds) => this.schedule(callback, milliseconds));
    for (const step of steps) this.take(typeof step === "string" ? { typed: step } : step);
  }

  schedule(callback, milliseconds) {
    const timer = { callback, at: this.time + milliseconds };
    this.timers.push(timer);
    return () => (this.timers = this.timers.filter((other) => other !== timer));
  }

  pass(milliseconds) {
    const until = this.time + milliseconds;
    for (let due; (due = this.timers.find(({ at }) => at <= until)); due.callback()) {
      this.timers = this.timers.filter((other) => other !== due);
      this.time = due.at;
    }
    this.time = until;
  }

  press(key, taken = true) {
    if (this.scanner.press({ timeStamp: this.time, ...key }) !== taken) this.wrong.push(key.key);
  }

  take({ typed = "", pressed = typed, gap = 5, code, pad = "", alt, wait = 0, fail, paste, key, ...rest }) {
    const characters = Array.from(pressed);
    Array.from(typed).forEach((char, at) => {
      const { shiftKey, ...named } = keyOf(characters[at]);
      const where = code === false ? { shiftKey: false } : { ...named, shiftKey };
      this.press({ key: NAMES[char] ?? char, altKey: rest.alt_held, ...where });
      this.pass(gap);
    });
    for (const digit of pad) this.press({ key: digit, code: `Numpad${digit}` });
    if (typeof alt === "string") this.altCode(alt);
    if (key) this.press({ key, code, ctrlKey: rest.ctrl, altKey: alt, metaKey: rest.meta, shiftKey: rest.shift }, rest.taken);
    if (fail) this.scanner.fail(this.time);
    if (paste) this.scanner.paste(paste, this.time);
    this.pass(wait);
  }

  altCode(digits) {
    this.press({ key: "Alt", code: "AltLeft", altKey: true }, false);
    for (const digit of digits) this.press({ key: digit, code: `Numpad${digit}`, altKey: true });
  }
}

export function type(one) {
  const scans = [];
  const ignored = [];
  const isKnown = one.known && ((text) => one.known.includes(text));
  const onScan = (scan) => scans.push(scan);
  const onIgnored = (_scan, why) => ignored.push(why);
  const { scanner, wrong } = new Typing((schedule) => new Scanner({ onScan, onIgnored, isKnown, schedule }), one);
  return { scans, ignored, wrong, pending: scanner.pending?.text ?? null };
}

/** Scans of the test label, and then a pause. */
export function diagnose(steps) {
  const results = [];
  const onResult = (findings) => results.push(findings);
  new Typing((schedule) => new ScannerTest({ onResult, schedule }), { steps: [...steps, { wait: 1000 }] });
  return results;
}
