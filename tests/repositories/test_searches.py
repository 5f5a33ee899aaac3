"""A search reads few rows, however many codes and batches the organisation has."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from plant import Plant
from qrtrack.repositories import Repositories
from qrtrack.repositories.searches import NEWEST_BATCHES

MANY_BATCHES = """
INSERT INTO qr_batches (id, manufacturer_org_id, order_id, uniq_code, product_name, quantity, units_per_case,
                        serial_mode, key_length, status, items_created, keys_to_hash, keys_hashed, created_by, gtin)
SELECT CAST('00000000-0000-7000-8000-' || lpad(number::text, 12, '0') AS uuid), :organisation,
       CAST('00000000-0000-7000-8000-' || lpad((number / 10)::text, 12, '0') AS uuid), 'U' || number,
       'Silver ' || number, 1, 1, 'imported', 4, 'creating', 0, 1, 0, 'x', '04006381333931'
FROM generate_series(1, 15000) AS number
"""
NOTHING: dict[str, Any] = {"names": [], "id_": None, "gtin": None, "lot": None, "product": None}
SEARCHES: list[dict[str, Any]] = [
    {"names": ["SKA019999"]},
    {"names": ["U14999"]},
    {"id_": UUID("00000000-0000-7000-8000-000000000777")},
]


async def rows_read(plant: Plant, **wanted: Any) -> dict[str, int]:
    """How many rows of each table one search reads."""
    async with plant.runtime.database.read(tenant=plant.caller.organisation_id) as repositories:
        before = await read_so_far(repositories)
        await repositories.searches.find(**(NOTHING | wanted), limit=20)
        after = await read_so_far(repositories)
    return {table: after[table] - before.get(table, 0) for table in after}


async def read_so_far(repositories: Repositories) -> dict[str, int]:
    found = await repositories._session.execute(
        text("SELECT relname, seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_xact_user_tables")
    )
    return {row.relname: int(row.rows or 0) for row in found}


@pytest.fixture
async def large(plant: Plant) -> Plant:
    await plant.batch(20_000)
    await plant.sql(MANY_BATCHES, organisation=plant.caller.organisation_id)
    await plant.sql("ANALYZE qr_codes, qr_batches, qr_master_codes, qr_batch_variants")
    return plant


async def test_searches_use_the_indexes(large: Plant) -> None:
    for wanted in SEARCHES:
        assert sum((await rows_read(large, **wanted)).values()) < 100, wanted


async def test_a_code_is_looked_up_without_statistics(plant: Plant) -> None:
    await plant.batch(2)
    await plant.sql("ANALYZE qr_codes, qr_batches, qr_master_codes")
    await plant.prepared(20_000, serial_prefix="PCK")
    for name in ("PCK019999", "NOSUCH000001"):
        read = await rows_read(plant, names=[name])
        assert read["qr_codes"] <= 2, name
        assert read["qr_prepared_codes"] <= 2, name


async def test_names_and_gtins_are_looked_for_among_the_newest_batches_only(large: Plant) -> None:
    for wanted in ({"product": "no such product"}, {"gtin": "00000000000000"}, {"product": "silver"}):
        read = await rows_read(large, **wanted)
        assert NEWEST_BATCHES <= read["qr_batches"] <= NEWEST_BATCHES + 100, wanted
        assert sum(read.values()) - read["qr_batches"] < 100, wanted
