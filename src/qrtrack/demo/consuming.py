"""Consumers: the first check answers `genuine`, the second one "seen before", and during a recall every check answers
`recalled`.
"""

from typing import Any

import httpx2

from qrtrack.demo.telling import PATIENCE_SECONDS, Teller, expect

API = "/api/manufacturer"


async def show(tell: Teller, batch: dict[str, Any]) -> None:
    """Checks the first unit of the batch as two consumers, recalls it, and lifts the recall."""
    tell.step("A consumer scratches the root key free and checks the unit; another one checks it again")
    codes = await tell.get(f"{API}/batches/{batch['batch_id']}/codes", limit=1, reveal="root_key")
    [unit] = codes["codes"]
    claimed = {"uniq_code": batch["uniq_code"], "code": unit["code"], "root_key": unit["root_key"]}
    for promised in ("genuine", "genuine_seen_before"):
        await _check(tell, claimed, promised)
    wrong = unit["root_key"][1:] + unit["root_key"][0]
    if wrong != unit["root_key"]:
        await _check(tell, claimed | {"root_key": wrong}, "unknown")
    texts = {"reason": "Demo", "text_en": "Bring it back to the shop.", "text_id": "Bawa kembali ke toko."}
    recall = await tell.post(f"{API}/recall", {"codes": [unit["code"]], **texts})
    await _check(tell, claimed, "recalled")
    await tell.post(f"{API}/recall/lift", {"recall_id": recall["recall_id"], "reason": "Demo"})
    await _check(tell, claimed, "genuine_seen_before")


async def _check(tell: Teller, claimed: dict[str, Any], promised: str) -> None:
    """Checks the unit as a new browser without a token."""
    async with httpx2.AsyncClient(base_url=tell.client.base_url, timeout=PATIENCE_SECONDS, trust_env=False) as browser:
        answer = (await browser.post("/api/verify", json=claimed)).json()
    expect("result of the check", answer.get("result"), promised)
    tell.say(f"{answer['result']}: [dim]{answer['message']}[/]")
