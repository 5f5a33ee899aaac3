"""A host that stands on printed labels is served for good, or named as retired."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from plant import Plant
from process import PRINTED_HOST
from qrtrack.domain.exports import FileType
from qrtrack.domain.identity import Caller
from qrtrack.runtime import open_runtime
from qrtrack.services.labels.symbols import describe_batch_symbol
from qrtrack.services.packing.exports import Wanted, export_codes
from qrtrack.services.printed_hosts import PrintedHostDropped, check_printed_hosts
from qrtrack.services.public_address import printable_base_url
from qrtrack.settings import Settings

ACME = "verify.acme.example"


async def hosts(plant: Plant) -> list[str]:
    return [row.host for row in await plant.sql("SELECT host FROM printed_hosts ORDER BY host")]


def changed(settings: Settings, **values: Any) -> Settings:
    return Settings(_env_file=None, **settings.model_dump(exclude_unset=True) | values)


async def draw_symbol(plant: Plant, settings: Settings) -> str:
    batch = await plant.batch(1)
    base_url = printable_base_url(settings, plant.caller.organisation_id)
    return await describe_batch_symbol(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, base_url=base_url
    )


async def test_each_organisations_symbols_begin_with_its_own_host(plant: Plant, settings: Settings) -> None:
    neighbour = Plant(plant.runtime, Caller("neighbour", uuid4(), plant.caller.roles))
    own = changed(
        settings,
        public_base_url="https://qr.example.com/plant-1",
        public_hosts=f"Verify.Acme.example={plant.caller.organisation_id}",
    )
    assert (await draw_symbol(plant, own)).startswith("HTTPS://VERIFY.ACME.EXAMPLE/Q/")
    assert (await draw_symbol(neighbour, own)).startswith("https://qr.example.com/plant-1/q/")
    assert await hosts(plant) == ["qr.example.com", ACME]
    assert own.public_addresses.verification_hosts == {ACME, PRINTED_HOST}


async def test_a_label_job_and_a_symbol_note_the_host_once(plant: Plant, settings: Settings) -> None:
    await plant.label(await plant.batch(1))
    for _ in range(2):
        await draw_symbol(plant, changed(settings, public_base_url="https://QR.example.com:443"))
    await draw_symbol(plant, changed(settings, public_base_url="http://localhost:8123"))
    assert await hosts(plant) == ["qr.example.com", "verify.example.com"]


async def test_an_export_of_payloads_notes_the_host_and_one_without_does_not(plant: Plant) -> None:
    batch = await plant.batch(1)
    database, exports = plant.runtime.database, plant.runtime.exports
    order: dict[str, Any] = {"caller": plant.caller, "batch_id": batch.batch_id, "wanted": Wanted(FileType.CSV)}
    (await export_codes(database, exports, **order)).content.close()
    assert await hosts(plant) == []
    (await export_codes(database, exports, **order, base_url="https://QR.example.com")).content.close()
    assert await hosts(plant) == ["qr.example.com"]


async def test_a_job_that_was_refused_notes_nothing(plant: Plant) -> None:
    batch = await plant.batch(1)
    with pytest.raises(Exception, match="not a code of this batch"):
        await plant.label(batch, first_code="NOPE")
    assert await hosts(plant) == []


async def test_a_start_without_a_printed_host_is_refused_by_name(plant: Plant, settings: Settings) -> None:
    await draw_symbol(plant, changed(settings, public_base_url="https://old.example.com"))
    moved = changed(settings, public_base_url="https://new.example.com")
    with pytest.raises(PrintedHostDropped, match=r"the host old\.example\.com.* add it to RETIRED_PUBLIC_HOSTS"):
        async with open_runtime(moved):
            pass
    async with open_runtime(changed(moved, retired_public_hosts="OLD.example.com")) as runtime:
        assert runtime.settings.public_addresses.verification_hosts == {"old.example.com"}
    async with open_runtime(changed(settings, public_base_url="http://old.example.com/path")):
        pass


async def test_a_host_on_labels_cannot_become_another_organisations(plant: Plant, settings: Settings) -> None:
    own = changed(settings, public_hosts=f"{ACME}={plant.caller.organisation_id}")
    await draw_symbol(plant, own)
    await check_printed_hosts(plant.runtime.database, own.public_addresses)
    other = uuid4()
    addresses = changed(settings, public_hosts=f"{ACME}={other}").public_addresses
    with pytest.raises(PrintedHostDropped, match=f"to organisation {other}, but labels of organisation"):
        await check_printed_hosts(plant.runtime.database, addresses)
    retired = replace(addresses, own_hosts={}, retired_hosts=frozenset({ACME}))
    await check_printed_hosts(plant.runtime.database, retired)
