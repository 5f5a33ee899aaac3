"""Times on the pages: those of the plant, each with the name of its zone."""

import re
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from console.every_page import addresses
from console.full_plant import fill_plant
from plant import Plant
from qrtrack.settings import Settings
from routers.console.conftest import Visit

MAKASSAR: Final = "Asia/Makassar"
SHOWN: Final = re.compile(r"(?<![\d:T-])(?:\d{4}-\d\d-\d\d )?\d\d:\d\d(?::\d\d)?(?![\d:])(?: WITA)?")
# The heads of the hours on the overview, and the time that a case took.
NO_MOMENT: Final = re.compile(r'<ol class="hours">.*?</ol>|<title>.*?</title>|<script.*?</script>', re.DOTALL)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"plant_timezone": MAKASSAR})


async def test_every_time_on_every_page_is_the_plants_with_the_name_of_its_zone(plant: Plant, visit: Visit) -> None:
    visitor = await visit(plant.caller)
    seeds = await fill_plant(plant)
    moments: set[str] = set()
    for address in addresses(seeds):
        page = (await visitor.get(address)).text
        read = re.sub(r"<[^>]*>", " ", NO_MOMENT.sub(" ", page))
        found = SHOWN.findall(read)
        nameless = [moment for moment in found if not moment.endswith(" WITA")]
        assert not nameless, (address, nameless)
        moments |= set(found)
    assert len(moments) > 10
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, 0, station="Line 2")
    [[packed_at]] = await plant.sql("SELECT packed_at FROM qr_master_codes WHERE batch_id = :id", id=batch.batch_id)
    assert isinstance(packed_at, datetime)
    shown = packed_at.astimezone(ZoneInfo(MAKASSAR))
    recent = (await visitor.get(f"/console/packing/recent?batch={batch.batch_id}")).text
    assert f"{shown:%H:%M} WITA" in recent
    traced = (await visitor.get(f"/console/trace?code={batch.master_codes[0]}")).text
    assert f"{shown:%Y-%m-%d %H:%M} WITA" in traced
