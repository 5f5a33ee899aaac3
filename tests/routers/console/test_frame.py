"""What the specification names on the pages: their addresses, the search on each, the ways to pack, the two stages."""

import re
from typing import Final

import pytest

from console.every_page import addresses
from console.full_plant import fill_plant
from plant import Plant
from qrtrack.console.access import PAGES
from qrtrack.console.language import catalogue
from qrtrack.routers.languages import LANGUAGES
from routers.console.conftest import Visit

NAMES: Final = ("batches", "packing", "jobs", "webhooks", "settlements", "progress", "verification", "settings")


def test_the_pages_have_the_addresses_that_others_link_to() -> None:
    assert {address for _, address, _ in PAGES} == {"/console", *(f"/console/{name}" for name in NAMES)}


async def test_every_page_but_the_wall_and_the_sign_in_has_the_search(plant: Plant, visit: Visit) -> None:
    visitor = await visit(plant.caller)
    without = set()
    for address in addresses(await fill_plant(plant)):
        page = await visitor.get(address)
        if page.status_code == 200 and page.text.startswith("<!doctype html>") and 'role="search"' not in page.text:
            without.add(address.partition("?")[0])
    assert without == {"/console", "/console/sign-in"}, "the first is the wall"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_packing_says_which_way_suits_which_batch_and_a_batch_shows_both_stages(
    plant: Plant, visit: Visit, language: str
) -> None:
    visitor = await visit(plant.caller)
    visitor.cookies.set("qrtrack_language", language)
    batch = await plant.batch(4, units_per_case=2)
    packing = (await visitor.get(f"/console/packing?batch={batch.batch_id}")).text
    said = catalogue(language)
    modes = re.findall(
        r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", packing.partition('class="modes"')[2].partition("</dl>")[0]
    )
    assert len(modes) == 4
    assert all(name and when for name, when in modes)
    # Each field that scanners type into brings up no keyboard, and has a button that does.
    scanned = re.findall(r'<(?:input|textarea) id="([\w-]+)"[^>]*inputmode="none"', packing)
    typed = " ".join(re.findall(r'data-types="([\w -]+)"', packing)).split()
    assert sorted(scanned) == sorted(typed)
    assert {"master", "first", "last", "exclude-codes"} <= set(scanned)
    shown = (await visitor.get(f"/console/batches/{batch.batch_id}/now")).text
    assert shown.count('class="stage"') == 2
    assert said["batches.made"] in shown
    assert said["batches.keys"] in shown
