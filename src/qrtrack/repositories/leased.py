"""The one mechanism behind every queue: claim, beat, finish, fail, release, each fenced by the lease token.

A kind of work keeps its own table and its own words for its states; a `Queue` says which.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import uniform
from typing import Any

from sqlalchemy import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.metrics import LOST_WRITES
from qrtrack.repositories.base import prepared


@dataclass(frozen=True, slots=True)
class Queue:
    """How one kind of work maps on its table.

    `narrowed_to` is the condition that picks the kind's rows where kinds share a table. `on_claim` are assignments
    made with the claim. Delays before attempt 2, 3, … are `backoff_seconds`, the last one repeating, with jitter.
    `carries` are columns of `job` that a group brings along: work so small that looking it up would cost as much.
    """

    kind: str
    table: str
    max_attempts: int
    backoff_seconds: Sequence[float]
    narrowed_to: str = "true"
    on_claim: str = ""
    queued: str = "queued"
    running: str = "running"
    completed: str = "completed"
    failed: str = "failed"
    error: str = "error_message"
    carries: Sequence[str] = ()

    @property
    def fence(self) -> str:
        """True for the claimed row as long as the claim holds."""
        return f"id = :id AND lease_token = :lease_token AND status = '{self.running}'"

    @property
    def live(self) -> str:
        return f"{self.narrowed_to} AND job.status IN ('{self.queued}', '{self.running}')"

    @property
    def claimable(self) -> str:
        """Due, or left behind by a worker that stopped beating: no rescuer is needed."""
        return (
            f"{self.live} AND (job.status = '{self.queued}' AND job.run_at <= now()"
            f" OR job.status = '{self.running}' AND job.lease_expires_at < now())"
        )


# More candidates than slots, so that claimers who meet at the head of the queue find something in one look. Who finds
# that all are being taken looks so many times further.
SPARE_CANDIDATES = 32
FURTHER = 4
# Pieces that failed together do not come back together.
JITTER = 0.75, 1.25

# The organisations that have live work, found one after the other in the index of the claim. The last one is NULL.
WAITING_ORGANISATIONS = """
WITH RECURSIVE organisation AS (
    (SELECT job.manufacturer_org_id FROM {table} AS job WHERE {live} ORDER BY job.manufacturer_org_id LIMIT 1)
    UNION ALL
    SELECT (SELECT job.manufacturer_org_id FROM {table} AS job
            WHERE {live} AND job.manufacturer_org_id > organisation.manufacturer_org_id
            ORDER BY job.manufacturer_org_id LIMIT 1)
    FROM organisation WHERE organisation.manufacturer_org_id IS NOT NULL
)"""

# Organisations take turns, then priority, then age.
NEXT = (
    WAITING_ORGANISATIONS
    + """, candidate AS (
    SELECT due.id, turns.served_at, organisation.manufacturer_org_id,
           row_number() OVER (PARTITION BY organisation.manufacturer_org_id
                              ORDER BY due.priority DESC, due.run_at, due.id) AS turn
    FROM organisation
    CROSS JOIN LATERAL (
        SELECT job.id, job.priority, job.run_at FROM {table} AS job
        WHERE job.manufacturer_org_id = organisation.manufacturer_org_id AND {claimable}
        ORDER BY job.priority DESC, job.run_at, job.id LIMIT {of_each}) AS due
    LEFT JOIN queue_turns AS turns
        ON turns.kind = {kind} AND turns.manufacturer_org_id = organisation.manufacturer_org_id
), next AS (
    SELECT * FROM candidate ORDER BY turn, served_at NULLS FIRST, manufacturer_org_id LIMIT {candidates}
)"""
)

SERVED = """served AS (
    INSERT INTO queue_turns (kind, manufacturer_org_id, served_at)
    SELECT {kind}, manufacturer_org_id, clock_timestamp()
    FROM (SELECT DISTINCT manufacturer_org_id FROM {claimed}) AS organisations ORDER BY manufacturer_org_id
    ON CONFLICT (kind, manufacturer_org_id) DO UPDATE SET served_at = EXCLUDED.served_at
)"""

CLAIM = (
    NEXT
    + """, taken AS (
    SELECT job.id, job.attempts, CASE WHEN job.status = '{queued}' THEN job.run_at END AS due_at
    FROM next JOIN {table} AS job ON job.id = next.id
    WHERE {claimable}
    ORDER BY next.turn, next.served_at NULLS FIRST, next.manufacturer_org_id
    LIMIT :slots FOR UPDATE OF job SKIP LOCKED
), claimed AS (
    UPDATE {table} AS job
    SET status = '{running}', lease_token = gen_random_uuid(),
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        attempts = LEAST(job.attempts + 1, :max_attempts), started_at = COALESCE(started_at, now()),
        updated_at = now(){on_claim}
    FROM taken WHERE job.id = taken.id
    RETURNING job.id, job.manufacturer_org_id, job.lease_token, job.attempts,
              taken.attempts >= :max_attempts AS exhausted,
              date_part('epoch', clock_timestamp() - taken.due_at) AS waited
), """
    + SERVED
    + """
SELECT seen.candidates, claimed.* FROM (SELECT count(*) AS candidates FROM next) AS seen LEFT JOIN claimed ON true
"""
)

ENDED = "lease_token = NULL, lease_expires_at = NULL, finished_at = clock_timestamp()"


@cache
def _claim_statement(queue: Queue) -> str:
    return CLAIM.format(
        table=queue.table,
        live=queue.live,
        claimable=queue.claimable,
        queued=queue.queued,
        running=queue.running,
        on_claim=f", {queue.on_claim}" if queue.on_claim else "",
        kind=":kind",
        candidates=":candidates",
        of_each=":candidates",
        claimed="claimed",
    )


class LeasedRepository:
    """The queue of one kind, in one transaction. Every write after the claim carries the lease token: a worker that
    comes back late gets LeaseLost and changes nothing.
    """

    def __init__(self, session: AsyncSession, queue: Queue) -> None:
        self._session = session
        self._queue = queue

    async def claim(self, slots: int, *, lease_seconds: float) -> list[Claim]:
        """Takes up to `slots` due rows: organisations take turns, then priority, then age. Counts the attempt."""
        queue = self._queue
        candidates = slots + SPARE_CANDIDATES
        while True:
            asked_at = time.monotonic()
            found = await self._session.execute(
                prepared(_claim_statement(queue)),
                {
                    "kind": queue.kind,
                    "slots": slots,
                    "candidates": candidates,
                    "lease_seconds": lease_seconds,
                    "max_attempts": queue.max_attempts,
                },
            )
            rows = found.all()
            if rows[0].id is not None:
                return [self._claim_of(row, asked_at) for row in rows]
            if rows[0].candidates < candidates:
                return []
            # No turn was taken so far: claimers who look further cannot wait for each other in a circle.
            candidates *= FURTHER

    def _claim_of(self, row: Sequence[Any], asked_at: float) -> Claim:
        _, id_, organisation_id, token, attempts, exhausted, waited = row
        return Claim(self._queue.kind, id_, token, organisation_id, attempts, exhausted, waited, asked_at)

    async def hold(self, claim: Claim) -> None:
        """Nobody can take the row before this transaction ends; LeaseLost when somebody has."""
        statement = f"SELECT 1 FROM {self._queue.table} WHERE {self._queue.fence} FOR NO KEY UPDATE"
        held = await self._session.execute(prepared(statement), {"id": claim.id, "lease_token": claim.token})
        if held.scalar_one_or_none() is None:
            raise self._lost(claim)

    async def beat(self, claim: Claim, *, lease_seconds: float) -> None:
        """Prolongs the lease, even one that has expired as long as nobody else has taken the row."""
        await self.write(
            claim,
            "lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)",
            lease_seconds=lease_seconds,
        )

    async def finish(self, claim: Claim, assignments: str = "", *, word: str | None = None, **values: Any) -> None:
        """`word`: for another good end than the one that is usual here."""
        ended = f"{self._end(word or self._queue.completed)}, {self._queue.error} = NULL"
        await self.write(claim, f"{ended}, {assignments}" if assignments else ended, **values)

    async def put_off(self, claim: Claim, seconds: float) -> None:
        """Should this attempt fail, the next one comes no sooner."""
        await self.write(claim, "run_at = clock_timestamp() + make_interval(secs => :seconds)", seconds=seconds)

    async def fail(self, claim: Claim, error: str, *, permanent: bool) -> float | None:
        """Back to the queue for growing, jittered seconds, or for those it was put off; None: it failed for good."""
        queue = self._queue
        if permanent or claim.exhausted or claim.attempts >= queue.max_attempts:
            await self.write(claim, f"{self._end(queue.failed)}, {queue.error} = :error", error=error)
            return None
        step = queue.backoff_seconds[min(claim.attempts, len(queue.backoff_seconds)) - 1]
        delay = step * uniform(*JITTER)  # noqa: S311 - jitter is no secret
        await self.write(
            claim,
            f"{self._back}, run_at = GREATEST(run_at, clock_timestamp() + make_interval(secs => :delay)),"
            f" {queue.error} = :error",
            delay=delay,
            error=error,
        )
        return delay

    async def repeat(
        self,
        claim: Claim,
        *,
        after: float,
        ended: str = "false",
        at_once: str = "false",
        error: str | None = None,
        **values: Any,
    ) -> None:
        """Standing work: back to the queue for its next turn in so many seconds, its attempts begun anew. Conditions
        say of the row as it is at that moment whether it is completed instead, or its next turn is due `at_once`.
        """
        queue = self._queue
        await self.write(
            claim,
            f"status = CASE WHEN {ended} THEN '{queue.completed}' ELSE '{queue.queued}' END, lease_token = NULL,"
            f" lease_expires_at = NULL, finished_at = CASE WHEN {ended} THEN clock_timestamp() END, attempts = 0,"
            " run_at = clock_timestamp() + make_interval("
            f"secs => CASE WHEN {at_once} THEN 0 ELSE CAST(:after AS float8) END), {queue.error} = :error",
            after=after,
            error=error,
            **values,
        )

    async def release(self, claim: Claim) -> None:
        """Back to the queue at once, the attempt given back: an interruption is not a failure."""
        await self.write(claim, f"{self._back}, attempts = attempts - 1")

    async def write(self, claim: Claim, assignments: str, **values: Any) -> None:
        """One fenced update of the claimed row; LeaseLost when the token no longer holds it."""
        statement = f"UPDATE {self._queue.table} SET updated_at = now(), {assignments} WHERE {self._queue.fence}"
        result = await self._session.execute(
            prepared(statement), {"id": claim.id, "lease_token": claim.token, **values}
        )
        assert isinstance(result, CursorResult)
        if result.rowcount == 0:
            raise self._lost(claim)

    @staticmethod
    def _lost(claim: Claim) -> LeaseLost:
        LOST_WRITES.labels(claim.kind).inc()
        return LeaseLost(claim)

    @property
    def _back(self) -> str:
        return f"status = '{self._queue.queued}', lease_token = NULL, lease_expires_at = NULL"

    @staticmethod
    def _end(status: str) -> str:
        return f"status = '{status}', {ENDED}"
