"""scan.js: the keys of scanners become codes. Each trouble that operators report is a case of scans.json."""

import json
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from static_site import STATIC, Site

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = json.loads((HERE / "scans.json").read_text())["cases"]


def wanted(case: dict[str, Any]) -> dict[str, Any]:
    return {"scans": case["scans"], "ignored": case.get("ignored", []), "wrong": [], "pending": case.get("pending")}


def compared(found: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """What was found, without the members of scans that the case does not name."""
    scans = [
        {name: scan[name] for name in (expected if expected is not None else scan)}
        for scan, expected in zip_longest(found["scans"], case["scans"])
        if scan is not None
    ]
    return found | {"scans": scans}


async def test_the_keys_of_scanners_become_codes(page: Page, site: Site) -> None:
    site.files["/tests/"] = HERE
    await page.goto(site.plant_url)
    found = await page.evaluate(
        "async (cases) => { const { type } = await import('/tests/scans.js'); return cases.map(type) }", CASES
    )
    pairs = [(case["name"], compared(result, case), wanted(case)) for case, result in zip(CASES, found, strict=True)]
    assert [pair for pair in pairs if pair[1] != pair[2]] == []


def test_reading_scans_needs_no_page() -> None:
    """Other front ends give keys from wherever they have them."""
    for name in ("scan.js", "readings.js", "keyboards.js"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", (STATIC / name).read_text(), flags=re.DOTALL)
        assert not re.search(r"\b(document|window|navigator|HTML\w*)\b", code), name


LABEL = 'qrTrack-Test:0123456789/YyZzAaQqMmWw"'
# What the test label becomes, as xkeyboard-config has the layouts.
TYPED = {
    "us on gb": "qrTrack-Test:0123456789/YyZzAaQqMmWw@",
    "us on fr": "arTrqck)TestMà&é\"'(-è_ç!YyWwQqAa?,Zz%",
    "us on de": "qrTrackßTestÖ0123456789-ZzYyAaQqMmWwÄ",
    "us on es": "qrTrack'TestÑ0123456789-YyZzAaQqMmWw¨",
    "gb on us": "qrTrack-Test:0123456789/YyZzAaQqMmWw@",
    "fr on us": "arTrqck6Test.)!@#$%^&*(>YyWwQqAa:;Zz3",
    "de on us": "qrTrack/Test>0123456789&ZzYyAaQqMmWw@",
    "es on us": "qrTrack/Test>0123456789&YyZzAaQqMmWw@",
}
GOOD = ["suffix.enter", "layout.right", "case.right", "text.right", "channels.one", "speed.right"]
# What the scanner sends, and what is not as above.
SETTINGS: list[tuple[list[Any], dict[str, dict[str, Any]]]] = [
    ([LABEL + "\n"], {}),
    ([LABEL + "\t"], {"suffix.tab": {}}),
    ([LABEL + "\n", {"key": "Enter"}], {"suffix.enter_enter": {}}),
    ([LABEL], {"suffix.missing": {}}),
    ([{"typed": LABEL.swapcase() + "\n", "pressed": LABEL + "\n"}], {"case.inverted": {}}),
    ([LABEL.upper() + "\n"], {"case.converted": {}}),
    (["]Q1" + LABEL + "\n"], {"text.identifier": {"symbology": "]Q1"}}),
    (["<" + LABEL + ">>\n"], {"text.added": {"before": "<", "after": ">>"}}),
    ([LABEL + LABEL + "\n"], {"channels.two": {}}),
    ([LABEL + "\n", LABEL + "\n"], {"channels.two": {}}),
    ([{"typed": LABEL + "\n", "gap": 60}], {"speed.slow": {"speed": 17}}),
    ([{"typed": LABEL + "\n", "gap": 0}], {"speed.at_once": {}}),
    (["SKA000001\n"], {"layout.unknown": {}, "text.other": {"text": "SKA000001"}}),
    *(
        (
            [{"typed": typed + "\n", "pressed": (LABEL if scanner == "us" else typed) + "\n"}],
            {"layout.other": {"computer": computer, "scanner": scanner}},
        )
        for scanner, computer, typed in ((*names.split(" on "), typed) for names, typed in TYPED.items())
    ),
]
NOT_WRONG = {"suffix.tab", "suffix.enter_enter", "text.identifier", "speed.at_once", *GOOD}


async def test_a_scan_of_the_test_label_tells_how_the_scanner_is_set(page: Page, site: Site) -> None:
    site.files["/tests/"] = HERE
    await page.goto(site.plant_url)
    found = await page.evaluate(
        "async (all) => { const { diagnose } = await import('/tests/scans.js'); return all.map(diagnose) }",
        [steps for steps, _ in SETTINGS],
    )
    for (steps, wanted), [findings] in zip(SETTINGS, found, strict=True):
        told = {finding["key"].removeprefix("scanner."): finding for finding in findings}
        others = {key: finding["params"] for key, finding in told.items() if key not in GOOD}
        assert (others, len(told)) == (wanted, len(GOOD)), steps
        assert {key for key, finding in told.items() if not finding["isGood"]} == wanted.keys() - NOT_WRONG, steps


async def test_events_of_a_browser_are_taken_as_they_are(page: Page, site: Site) -> None:
    site.files["/listening.js"] = """
        import { Scanner } from "/console/static/scan.js";
        globalThis.scans = [];
        const scanner = new Scanner({ onScan: (scan) => scans.push(scan) });
        document.addEventListener("keydown", (event) => scanner.press(event) && event.preventDefault());
    """
    await page.goto(site.plant_url)
    await page.evaluate("import('/listening.js')")
    await page.keyboard.type("https://verify.example.com/q/ABCDEFGHJKMN/SKA000001")
    await page.keyboard.press("Enter")
    [scan] = await page.evaluate("scans")
    assert scan["text"] == "https://verify.example.com/q/ABCDEFGHJKMN/SKA000001"
    assert [scan[name] for name in ("suffix", "layout", "computer", "caseInverted")] == ["enter", "right", "us", False]
    assert scan["speed"] > 0
