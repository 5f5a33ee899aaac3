"""The console runs in Chrome 109, Safari 15.4 and Firefox 115: old_browsers.js asks MDN's table of browsers for each
feature of the scripts, the style sheet and the templates.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from static_site import STATIC

HERE: Final = Path(__file__).parent
# What an old browser lacks here, and what its user sees instead.
DISPENSABLE: Final = {
    "MediaStreamTrack.getCapabilities": "no button for the torch",
    "Navigator.vibrate": "the phone does not shake after a scan",
    "Navigator.wakeLock": "the tablet's own setting keeps the screen on",
    "WakeLock.request": "the tablet's own setting keeps the screen on",
    "<link rel=icon>": "no icon in the tab",
    "<script blocking>": "the page is shown a moment before its scripts are there",
    "<meta name=viewport>": "a desktop has no need of it",
    "<input autocapitalize>": "a desktop has no keyboard on its screen",
    "<textarea autocapitalize>": "a desktop has no keyboard on its screen",
    "<input autofocus>": "an iPhone waits for a touch",
    "<video playsinline>": "only an iPhone has another way",
    "align-content: start": "the table means other containers than grids, which have it since Safari 10.1",
    "cursor: not-allowed": "a finger has no cursor",
    "cursor: pointer": "a finger has no cursor",
    "resize": "the field scrolls",
    "resize: vertical": "the field scrolls",
}
# Newer than these browsers, each of another kind.
NEWER: Final = {
    ".js": """// A comment: ours.
        [2, 1].toSorted(); Object.groupBy([1], (n) => n); new Set([1]).union(new Set([2])); Promise.withResolvers();
        AbortSignal.timeout(5); document.forms[0].requestSubmit(); document.body.checkVisibility();
        requestIdleCallback(() => {}); [1].values().map((n) => n); class Kept { static { globalThis.kept = 1 } }
        export const one = /(?<=a)b/, two = /[a--b]/v; import data from "./data.json" with { type: "json" };""",
    ".css": """.a { color: light-dark(#fff, #000); & .b { color: red } text-wrap: balance; width: 3cqw }
        .a:has(.b) { color: color-mix(in srgb, red, blue); grid-template-columns: subgrid }
        @starting-style { .a { opacity: 0 } } @media (width >= 640px) { .a { field-sizing: content } }""",
    ".html": '<div popover inert></div><search></search><details name="a"></details><button popovertarget="x">',
}
NEWER_FOUND: Final = {
    "Array.toSorted", "ObjectConstructor.groupBy", "Set.union", "PromiseConstructor.withResolvers",
    "AbortSignal.timeout", "HTMLFormElement.requestSubmit", "Element.checkVisibility", "requestIdleCallback",
    "IteratorObject.map", "static { }", "(?<=…)", "flag v", "import … with", "light-dark()", "nesting",
    "text-wrap", "text-wrap: balance", "grid-template-columns: subgrid", ":has", "color-mix()", "1cqw",
    "@starting-style", "@media (width >= …)", "field-sizing", "field-sizing: content", "<div popover>",
    "<div inert>", "<search>", "<details name>", "<button popovertarget>",
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules/@mdn").exists(),
    reason="needs node and, once: npm ci --prefix tests/console",
)


def missing(files: Iterable[Path]) -> list[str]:
    """`file: feature (browser and the version that has it)`."""
    words = ["node", str(HERE / "old_browsers.js"), *map(str, files)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def feature_of(line: str) -> str:
    return re.sub(r"^[\w.-]+: (.*) \([^()]*\)$", r"\1", line)


def test_the_oldest_browsers_have_what_the_console_uses() -> None:
    templates = STATIC.parent / "templates"
    found = missing([*STATIC.glob("*.js"), STATIC / "console.css", *templates.glob("*.html")])
    newer = [line for line in found if feature_of(line) not in DISPENSABLE]
    remedy = "Newer than Chrome 109, Safari 15.4 or Firefox 115. Take something older, or guard it and name it above:"
    assert not newer, "\n".join([remedy, *newer])
    assert {feature_of(line) for line in found} == set(DISPENSABLE), "DISPENSABLE names something that is not used"


def test_newer_features_are_found(tmp_path: Path) -> None:
    for kind, text in NEWER.items():
        (tmp_path / f"newer{kind}").write_text(text)
    assert {feature_of(line) for line in missing(tmp_path.iterdir())} == NEWER_FOUND
