"""A finance officer dispatches a settlement to a stand-in for the bank's gateway. A second dispatch is refused."""

import asyncio
from typing import Any
from uuid import uuid4

from qrtrack.demo.telling import PATIENCE_SECONDS, Teller, expect


async def show(tell: Teller) -> None:
    tell.step("Finance pays: a settlement goes to a bank (a stand-in) once, however often it is sent")
    settlement = _settlement(uuid4().hex[:8])
    sent = await tell.post("/api/akselgate/dispatch", settlement)
    expect("outcome", sent["outcome"], "accepted")
    again = await tell.post("/api/akselgate/dispatch", settlement, status=409)
    expect("the attempt that holds it", again["log_id"], sent["log_id"])
    tell.say(f"Attempt {sent['log_id']} is accepted, a second one refused: [dim]{again['detail']}[/]")
    rows = await _called_back(tell, sent["log_id"])
    expect("callbacks", [row["callback_state"] for row in rows], ["ok", "failed"])
    for row in rows:
        tell.say(f"{row['reference_number']}: {row['amount']:>7} {row['callback_state']}")


def _settlement(mark: str) -> dict[str, Any]:
    """Builds a settlement of two payments. The stand-in reports the reference that begins with FAIL as failed."""
    accounts = {"debitAccount": "1000000001", "creditAccount": "2000000001"}
    rows = [
        {**accounts, "amount": amount, "description": "Gold", "referenceNumber": f"{name}{mark}"}
        for name, amount in (("PAY-", "150000"), ("FAIL-", "75000"))
    ]
    return {"transaction_type": "CA_ESCROW", "kd_settle": f"STL-{mark}", "transactions": rows}


async def _called_back(tell: Teller, attempt_id: int) -> list[dict[str, Any]]:
    """Waits until all callbacks have arrived, and returns the attempt's rows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            page = await tell.get(f"/api/akselgate/attempts/{attempt_id}")
            if not page["attempt"]["is_open"]:
                rows: list[dict[str, Any]] = page["rows"]
                return rows
            await asyncio.sleep(0.05)
