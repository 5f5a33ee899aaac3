"""A consumer with a phone: a browser of their own behind a network, and the root key below the scratch layer."""

from dataclasses import dataclass
from typing import Any

import httpx2

from plant import MadeBatch, Plant, ska

HOME = "203.0.113.7"


async def root_key(plant: Plant, batch: MadeBatch, number: int) -> str:
    """As it is printed."""
    [row] = await plant.sql(
        "SELECT root_key_sealed FROM qr_codes WHERE batch_id = :id AND sequence_number = :number",
        id=batch.batch_id,
        number=number,
    )
    return plant.runtime.keys.unseal(batch.batch_id, number, bytes(row.root_key_sealed))


def wrong(key: str) -> str:
    """One letter off: nobody's key in a small batch, as good as surely."""
    return key[:-1] + ("3" if key[-1] == "2" else "2")


@dataclass(frozen=True)
class Consumer:
    """`http` keeps this browser's cookies. The application counts one trusted proxy."""

    http: httpx2.AsyncClient
    address: str = HOME

    async def post(self, path: str, **body: Any) -> httpx2.Response:
        return await self.http.post(path, json=body, headers={"X-Forwarded-For": self.address})

    async def verify(self, batch: MadeBatch, key: str, number: int | None = 1, **more: Any) -> httpx2.Response:
        named = {} if number is None else {"code": ska(number)[0]}
        return await self.post("/api/verify", uniq_code=batch.uniq_code, root_key=key, **named, **more)

    async def result(self, batch: MadeBatch, key: str, number: int | None = 1) -> str:
        answer = await self.verify(batch, key, number)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["result"])

    async def open(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(path, headers={"X-Forwarded-For": self.address} | headers)

    async def enter(self, path: str, key: str, **fields: str) -> httpx2.Response:
        """The page's form."""
        form = {"action": "check", "root_key": key} | fields
        return await self.http.post(path, data=form, headers={"X-Forwarded-For": self.address})
