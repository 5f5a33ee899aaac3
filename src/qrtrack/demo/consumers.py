"""Consumers check one unit: genuine, then seen before, then recalled."""

from typing import Any

from qrtrack.demo.telling import Teller, expect

API = "/api/manufacturer"


async def show(tell: Teller, batch: dict[str, Any]) -> None:
    """Checks the batch's first unit, and recalls it."""
    tell.step("Consumers scratch a label open and check the key")
    revealed = await tell.get(f"{API}/batches/{batch['batch_id']}/codes", reveal="root_key", limit=1)
    [unit] = revealed["codes"]
    asked = {"uniq_code": batch["uniq_code"], "code": unit["code"], "root_key": unit["root_key"]}
    await _check(tell, asked, "genuine")
    await _check(tell, asked, "genuine_seen_before")
    tell.step(f"A manager recalls {unit['code']}")
    texts = {"text_en": "Bring it back to the shop.", "text_id": "Kembalikan ke toko."}
    recall = await tell.post(f"{API}/recall", {"codes": [unit["code"]], "reason": "Demonstration", **texts})
    expect("recalled units", recall["unit_count"], 1)
    await _check(tell, asked, "recalled")
    await tell.post(f"{API}/recall/lift", {"recall_id": recall["recall_id"], "reason": "The demonstration ends"})
    await _check(tell, asked, "genuine_seen_before")


async def _check(tell: Teller, asked: dict[str, str], promised: str) -> None:
    """Each check comes from another browser: within 30 minutes, those of one browser would be one check."""
    tell.client.cookies.clear()
    answer = await tell.post("/api/verify", asked)
    expect("result of the check", answer["result"], promised)
    tell.say(f"{answer['title']}: [dim]{answer['message']}[/]")
