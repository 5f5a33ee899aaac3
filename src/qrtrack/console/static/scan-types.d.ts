// The types of scan.js. The browser does not load this file.

export type Keyboard = "us" | "gb" | "fr" | "de" | "es";

/**
 * One character of a scan. `place` stands for its key and Shift: undefined if the browser does not name the key (pasted
 * text, some phones), null if every layout writes the same (the number pad, a separator).
 */
export interface Stroke {
  char: string;
  place?: number | null;
  shift?: boolean;
}

export interface Mismatch {
  computer: Keyboard;
  scanner: Keyboard;
}

/** A `KeyboardEvent` of the type `keydown`, or an object with these members. */
export interface Key {
  key: string;
  code?: string;
  shiftKey?: boolean;
  ctrlKey?: boolean;
  altKey?: boolean;
  metaKey?: boolean;
  /** In milliseconds, on the clock of `performance.now()`. */
  timeStamp: number;
}

/** CR followed by LF is `enter enter`. null: the text was pasted, or the scan has not ended. */
export type Suffix = "enter" | "tab" | "enter enter" | null;

export interface Scan {
  /** The code, without what the scanner added. One GS (0x1D) stays in front of a GS1 symbol. */
  text: string;
  /** As the keys wrote it. */
  raw: string;
  /** What ended the scan. */
  suffix: Suffix;
  /** `wrong`: no layout gives a text that looks like a code. Say that the scanner is set to another keyboard. */
  layout: "right" | "repaired" | "wrong";
  /** The layout of the computer, if the keys tell it. */
  computer: Keyboard | null;
  /** The layout of the scanner, if the keys tell it. */
  scanner: Keyboard | null;
  /** Caps Lock was on. The text is repaired. */
  caseInverted: boolean;
  /** The value came twice: in one scan, or in two within 300 ms. */
  doubled: boolean;
  /** The AIM identifier, such as `]Q3`. */
  symbology: string | null;
  /** What `isKnown` said; false without it. */
  known: boolean;
  /** Characters per second; null if all came at the same time. */
  speed: number | null;
  /** The longest pause between two characters, in milliseconds. */
  longestGap: number;
}

/** Why a scan does not count. */
export type Ignored = "repeat" | "silence" | "same-trigger";

/** One reading of the keys of a scan. */
export interface Reading {
  text: string;
  symbology: string | null;
  doubled: boolean;
  caseInverted: boolean;
  known: boolean;
  /** null: as it was typed. */
  mismatch: Mismatch | null;
  /** 4: known. 3 and 2: it looks like a code. 1 and 0: it does not. */
  score: number;
}
