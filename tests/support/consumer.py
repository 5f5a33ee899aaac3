"""A consumer: a browser with its own cookies behind a network address, and the root keys of units."""

from dataclasses import dataclass
from typing import Any

import httpx2

from plant import MadeBatch, Plant, ska

HOME = "203.0.113.7"


async def root_key(plant: Plant, batch: MadeBatch, number: int) -> str:
    """Returns the unit's root key, as it is printed."""
    [row] = await plant.sql(
        "SELECT root_key_sealed FROM qr_codes WHERE batch_id = :id AND sequence_number = :number",
        id=batch.batch_id,
        number=number,
    )
    return plant.runtime.keys.unseal(batch.batch_id, number, bytes(row.root_key_sealed))


def wrong(key: str) -> str:
    """Returns the key with another last letter. In a small batch it is almost certainly no unit's key."""
    return key[:-1] + ("3" if key[-1] == "2" else "2")


@dataclass(frozen=True)
class Consumer:
    """A browser; `http` keeps its cookies. The application must count one trusted proxy."""

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
        """Sends the form of the page."""
        form = {"action": "check", "root_key": key} | fields
        return await self.http.post(path, data=form, headers={"X-Forwarded-For": self.address})
