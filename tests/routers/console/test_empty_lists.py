"""Lists without entries say so, and what to do, in both languages. With a filter they say that it matches none."""

import re
from typing import Final
from uuid import UUID

import httpx2
import pytest

from console.every_page import addresses
from plant import Plant
from qrtrack.domain.identity import Caller, Role
from qrtrack.routers.languages import LANGUAGES
from qrtrack.settings import Settings
from routers.console.conftest import Visit

ORGANISATION: Final = UUID("01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10")
LISTS: Final = (
    "/console/batches", "/console/packing", "/console/jobs", "/console/verification?show=alerts",
    "/console/verification?show=reports", "/console/verification?show=checks", "/console/webhooks",
    "/console/settlements", "/console/progress", "/console/settings",
)  # fmt: skip
FILTERED: Final = (
    "/console/batches?name=zzz", "/console/batches?state=closed", "/console/jobs?status=failed",
    "/console/webhooks?status=dead", "/console/settlements?outcome=unknown", "/console/progress?status=failed",
    "/console/search?q=zzz", "/console/verification?batch=zzz",
)  # fmt: skip
OF_A_BATCH: Final = (
    "/console/batches/{id}/codes?code=zzz", "/console/batches/{id}/labels", "/console/batches/{id}/exports",
    "/console/packing/recent?batch={id}",
)  # fmt: skip
BARE: Final = re.compile(r"<(tbody|ul|ol|dl)\b(?![^>]* (?:id|data-))[^>]*>\s*</\1>")
# Filled by a script, which shows it then. One that is always shown has an id.
HIDDEN: Final = re.compile(r"<(section|fieldset)\b[^>]* hidden\b.*?</\1>", re.DOTALL)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"akselgate_organisation": ORGANISATION, "accurate_databases": f"7={ORGANISATION}"}
        | {"printer_networks": "127.0.0.0/8"}
    )


@pytest.fixture
def caller() -> Caller:
    return Caller("admin", ORGANISATION, frozenset({Role.ADMIN}))


async def sentences(visitor: httpx2.AsyncClient, address: str) -> str:
    """What the empty states of the page say."""
    answer = await visitor.get(address)
    assert answer.status_code == 200, address
    assert not BARE.search(HIDDEN.sub("", answer.text)), address
    found = re.findall(r'class="(?:[\w ]+ )?empty">(.*?)</(?:div|p)>', answer.text, re.DOTALL)
    assert found, f"{address} has no empty state"
    return " ".join(re.sub(r"</h\d>", ". ", part) for part in found)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_list_without_entries_says_what_to_do(visit: Visit, plant: Plant, language: str) -> None:
    visitor = await visit(plant.caller)
    visitor.cookies.set("qrtrack_language", language)
    said = {address: await sentences(visitor, address) for address in (*LISTS, *FILTERED)}
    batch = await plant.batch(5)
    said |= {address: await sentences(visitor, address.format(id=batch.batch_id)) for address in OF_A_BATCH}
    short = {address: text for address, text in said.items() if not re.search(r"\w\. +\W*\w", text)}
    assert not short, "These say that nothing is there, and not what to do."
    for address in FILTERED[:6]:
        page = address.partition("?")[0]
        assert said[address] != said[page], f"{address} speaks as if there were no filter"


async def test_no_page_of_a_new_plant_has_a_bare_table(visit: Visit, plant: Plant) -> None:
    visitor = await visit(plant.caller)
    for address in addresses({"q": "SKA999999"}, is_empty=True):
        page = await visitor.get(address)
        assert not BARE.search(HIDDEN.sub("", page.text)), address
