"""scan.js: the keys of scanners become codes. Each trouble that operators report is a case of scans.json."""

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from static_site import Site

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
