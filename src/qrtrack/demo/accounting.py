"""The accounting system sends an event twice by webhook. The service stores it once."""

import asyncio
from typing import Any
from uuid import uuid4

from qrtrack.demo.telling import PATIENCE_SECONDS, Teller, expect


async def show(tell: Teller, *, database_id: int, token: str) -> None:
    tell.step("The accounting system sends an array of events twice at the same moment")
    events = _events(database_id, uuid4().hex)
    answers = await asyncio.gather(*(_push(tell, events, token) for _ in range(2)))
    ids = answers[0]["queue_ids"]
    expect("the ids of both answers", answers[1]["queue_ids"], ids)
    expect("different ids", len(set(ids)), len(events))
    expect("queued", sum(answer["queued"] for answer in answers), len(events))
    expect("duplicates", sum(answer["duplicates"] for answer in answers), len(events))
    tell.say(f"Both answers name the same queue ids, {ids[0]} and {ids[1]}: each event is kept once.")
    documents = await _processed(tell, database_id, len(events))
    expect("documents", sorted(document["number"] for document in documents), ["INV-2026-001", "REC-2026-001"])
    expect("amounts", {document["amount"] for document in documents}, {"1250000"})
    for document in documents:
        tell.say(f"{document['type']}: {document['number']}, {document['amount']}")


def _events(database_id: int, mark: str) -> list[dict[str, Any]]:
    head = {"databaseId": database_id, "timestamp": "22/11/2026 08:30:00"}
    invoice = {"salesInvoiceId": 4711, "salesInvoiceNo": "INV-2026-001", "salesInvoiceTotalAmount": "1250000"}
    receipt = {"salesReceiptId": 815, "salesReceiptNo": "REC-2026-001", "salesReceiptTotalAmount": "1250000"}
    return [
        head | {"type": "SALES_INVOICE", "uuid": f"inv-{mark}", "data": [invoice | {"action": "WRITE"}]},
        head | {"type": "SALES_RECEIPT", "uuid": f"rec-{mark}", "data": [receipt | {"action": "WRITE"}]},
    ]


async def _push(tell: Teller, events: list[dict[str, Any]], token: str) -> dict[str, Any]:
    return await tell.post("/webhook/accurate", events, headers={"X-Webhook-Token": token})


async def _processed(tell: Teller, database_id: int, count: int) -> list[dict[str, Any]]:
    """Waits until the events are processed, and returns their documents."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            page = await tell.get("/api/accurate/documents", database_id=database_id)
            documents: list[dict[str, Any]] = page["documents"]
            if len(documents) >= count:
                return documents
            await asyncio.sleep(0.05)
