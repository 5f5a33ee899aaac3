"""Public verification over HTTP, one check at a time, beside a bare bcrypt comparison in this process.

Bars: a wrong key of a known code and an unknown code differ by less than 5 % in their medians, so that the time does
not tell which codes exist; a check with the right key takes at most 3 times as long as bare bcrypt (both p95). All
four sides take turns, each check from a network of its own, because failures of one network are limited.
"""

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.ground import Ground, in_milliseconds, open_ground
from benchmarks.report import Report
from benchmarks.seed import Seeded, seed_batch, tidy
from benchmarks.server import Client, serving
from qrtrack.domain.root_keys import random_text

ROUNDS, FULL_ROUNDS, KEY_LENGTH = 200, 800, 7
WARM_UP = 5
KEYED = """
UPDATE qr_codes SET root_key_digest = keyed.digest, root_key_hash = keyed.hash
FROM unnest($2::int[], $3::bytea[], $4::text[]) AS keyed (number, digest, hash)
WHERE batch_id = $1 AND sequence_number = keyed.number
"""


async def run(*, full: bool) -> Report:
    report, rounds = Report("verify"), FULL_ROUNDS if full else ROUNDS
    async with open_ground() as ground, serving(ground, with_worker=False, TRUSTED_PROXIES="1") as server:
        batch = await seed_batch(ground.bare, ground.organisation, 10_000)
        keys = await _give_keys(ground, batch, rounds + WARM_UP)
        await tidy(ground.bare)
        async with server.clients(1) as [client]:
            times = _Times(ground, client, batch, keys)
            for number in range(1, rounds + WARM_UP + 1):
                await times.measure(number)
        bare, wrong, unknown, right = (samples[WARM_UP:] for samples in times.samples)
        difference = abs(median(wrong) / median(unknown) - 1) * 100
        report.at_most("wrong key beside unknown code, difference of the medians", difference, "%", 5)
        report.cost_at_most("check with the right key, p95", "ms", ours=right, baseline=bare, limit=3, at=95)
        report.note(f"wrong key p50 {median(wrong):.1f} ms, unknown code p50 {median(unknown):.1f} ms")
        report.publish(ground.machine)
    return report


class _Times:
    """`samples` in milliseconds: bare bcrypt, wrong key, unknown code, right key."""

    def __init__(self, ground: Ground, client: Client, batch: Seeded, keys: list[str]) -> None:
        self._ground, self._client, self._batch, self._keys = ground, client, batch, keys
        self._networks = itertools.count(1)
        self.samples: list[list[float]] = [[], [], [], []]

    async def measure(self, number: int) -> None:
        """One round; who goes first, and in which direction the turns go, changes."""
        code, key = self._batch.code(number), self._keys[number - 1]
        sides: list[Callable[[], Any]] = [
            self._bare,
            lambda: self._check(code, random_text(KEY_LENGTH), "unknown"),
            lambda: self._check(f"{self._batch.prefix}{900_000 + number}", key, "unknown"),
            lambda: self._check(code, key, "genuine"),
        ]
        turns = [(place + number) % len(sides) for place in range(len(sides))]
        for side in turns if number // 4 % 2 else reversed(turns):
            began = time.perf_counter()
            await sides[side]()
            self.samples[side] += in_milliseconds([time.perf_counter() - began])

    async def _bare(self) -> None:
        hasher = self._ground.runtime.hasher
        hasher.verify("a key that nobody has", hasher.of_no_key)

    async def _check(self, code: str, key: str, expected: str) -> None:
        body = {"uniq_code": self._batch.uniq_code, "code": code, "root_key": key}
        place = next(self._networks)
        address = f"10.{place >> 16 & 255}.{place >> 8 & 255}.{place & 255}"
        answer = await self._client.post("/api/verify", body, headers=f"X-Forwarded-For: {address}\r\n")
        assert answer["result"] == expected, answer


async def _give_keys(ground: Ground, batch: Seeded, count: int) -> list[str]:
    """The first units get keys with their real digests and hashes."""
    ring, hasher = ground.runtime.keys, ground.runtime.hasher
    numbers, keys = list(range(1, count + 1)), [random_text(KEY_LENGTH) for _ in range(count)]
    digests, _ = ring.prepare(batch.batch_id, numbers, keys)
    hashes = [
        hasher.hash(ring.peppered(batch.batch_id, number, key)) for number, key in zip(numbers, keys, strict=True)
    ]
    await ground.bare.execute(KEYED, batch.batch_id, numbers, digests, hashes)
    return keys
