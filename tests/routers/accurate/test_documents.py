"""Documents over HTTP."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from accurate import DATABASE, Accurate, event
from process import settings_of
from qrtrack.domain.identity import Caller
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings

DOCUMENTS = "/api/accurate/documents"


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


async def test_documents_are_listed_by_pages_and_filtered(
    accurate: Accurate, runtime: Runtime, client: httpx2.AsyncClient
) -> None:
    await accurate.send(
        event("ITEM", *({"itemId": number, "itemTotalAmount": 1250000} for number in range(5))),
        event("CUSTOMER", {"customerId": 1, "customerTotalAmount": "0.10", "action": "DELETE"}),
    )
    await accurate.process()
    found: list[Any] = []
    cursor: str | None = None
    while cursor is not None or not found:
        page = (await client.get(DOCUMENTS, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        found += page["documents"]
        cursor = page["next_cursor"]
    assert [(one["type"], one["entity_id"]) for one in found] == [
        ("CUSTOMER", "1"), ("ITEM", "0"), ("ITEM", "1"), ("ITEM", "2"), ("ITEM", "3"), ("ITEM", "4"),
    ]  # fmt: skip
    assert (found[0]["amount"], found[0]["timestamp"], found[0]["deleted"]) == (
        "0.10",
        "2026-11-21T03:00:00.000000Z",
        True,
    )
    assert found[1]["amount"] == "1250000"
    for query, count in (({"type": "ITEM"}, 5), ({"deleted": "true"}, 1), ({"database_id": "5"}, 0)):
        assert len((await client.get(DOCUMENTS, params=query)).json()["documents"]) == count
