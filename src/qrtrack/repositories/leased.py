"""The leased queue of all kinds of work: claim, renew, finish, fail, release, cancel, requeue.

Each kind has its own table and its own names for states; a `Queue` maps them. Writes are fenced by the lease token.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import uniform
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.domain.identity import Permission
from qrtrack.repositories.base import Repository


@dataclass(frozen=True, slots=True)
class Queue:
    """Maps one kind of work to its table.

    `narrowed_to`: the condition that selects the kind's rows where kinds share a table. `on_claim`: assignments made
    with the claim. `claimed_if`: a further condition on `job`, for work that only some processes may claim, or that
    must wait for other work; the caller of `claim` gives its parameters. `backoff_seconds`: delays before attempt 2, 3,
    …; the last one repeats, each with jitter. `seen_with`: the permission that shows the kind in an organisation's
    overview; None hides it.

    The properties are SQL for this table. Other repositories use them: `UPDATE … SET {QUEUE.requeued}, …`.
    """

    kind: str
    table: str
    max_attempts: int
    backoff_seconds: Sequence[float]
    seen_with: Permission | None
    narrowed_to: str = "true"
    claimed_if: str = "true"
    on_claim: str = ""
    queued: str = "queued"
    running: str = "running"
    completed: str = "completed"
    failed: str = "failed"
    error: str = "error_message"

    @property
    def fence(self) -> str:
        """SQL condition: the claim still holds the row."""
        return f"id = :id AND lease_token = :lease_token AND status = '{self.running}'"

    @property
    def live(self) -> str:
        """SQL condition: the work is queued or running."""
        return f"{self.narrowed_to} AND job.status IN ('{self.queued}', '{self.running}')"

    @property
    def claimable(self) -> str:
        """SQL condition: the work is due, or its lease has expired. So the next claim takes over, and no rescue process
        is needed.
        """
        return (
            f"{self.live} AND (job.status = '{self.queued}' AND job.run_at <= now()"
            f" OR job.status = '{self.running}' AND job.lease_expires_at < now()) AND {self.claimed_if}"
        )

    @property
    def finished(self) -> str:
        """SQL assignments: the work is completed."""
        return f"{self.ended(self.completed)}, {self.error} = NULL"

    @property
    def unleased(self) -> str:
        """SQL assignments: no worker holds the work. The caller also sets another status than the running one."""
        return "lease_token = NULL, lease_expires_at = NULL, updated_at = now()"

    @property
    def released(self) -> str:
        """SQL assignments: the work is in the queue again; nothing else changes."""
        return f"status = '{self.queued}', {self.unleased}"

    @property
    def requeued(self) -> str:
        """SQL assignments: the work is in the queue again, due now, with all attempts. A worker that holds it loses its
        lease.
        """
        return f"{self.released}, attempts = 0, run_at = now(), finished_at = NULL, {self.error} = NULL"

    def ended(self, status: str) -> str:
        """SQL assignments: the work ends with this status, which is a word or a parameter (`:status`). A worker that
        holds it loses its lease.
        """
        value = status if status.startswith(":") else f"'{status}'"
        return f"status = {value}, finished_at = clock_timestamp(), {self.unleased}"


# 32 spare candidates: concurrent claimers skip locked rows, and without spares they come back empty. A claimer that
# finds all its candidates locked reads FURTHER times as many.
SPARE_CANDIDATES: Final = 32
FURTHER: Final = 4
# Spreads the retries of work that failed at the same time.
JITTER: Final = 0.75, 1.25

# The organisations with live work: a loose index scan over the claim index, one step for each. The last row is NULL.
WAITING_ORGANISATIONS = """
WITH RECURSIVE organisation AS (
    (SELECT job.manufacturer_org_id FROM {table} AS job WHERE {live} ORDER BY job.manufacturer_org_id LIMIT 1)
    UNION ALL
    SELECT (SELECT job.manufacturer_org_id FROM {table} AS job
            WHERE {live} AND job.manufacturer_org_id > organisation.manufacturer_org_id
            ORDER BY job.manufacturer_org_id LIMIT 1)
    FROM organisation WHERE organisation.manufacturer_org_id IS NOT NULL
)"""

# Round robin over organisations, then by priority, then by age.
NEXT = (
    WAITING_ORGANISATIONS
    + """, candidate AS (
    SELECT due.id, latest.served_at, organisation.manufacturer_org_id,
           row_number() OVER (PARTITION BY organisation.manufacturer_org_id
                              ORDER BY due.priority DESC, due.run_at, due.id) AS round
    FROM organisation
    CROSS JOIN LATERAL (
        SELECT job.id, job.priority, job.run_at FROM {table} AS job
        WHERE job.manufacturer_org_id = organisation.manufacturer_org_id AND {claimable}
        ORDER BY job.priority DESC, job.run_at, job.id LIMIT {of_each}) AS due
    LEFT JOIN queue_turns AS latest
        ON latest.kind = {kind} AND latest.manufacturer_org_id = organisation.manufacturer_org_id
), next AS (
    SELECT * FROM candidate ORDER BY round, served_at NULLS FIRST, manufacturer_org_id LIMIT {candidates}
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
    ORDER BY next.round, next.served_at NULLS FIRST, next.manufacturer_org_id
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


class ClaimedRow(NamedTuple):
    """A claimed row. If nothing was claimed, there is one row with NULL in all columns except `candidates`."""

    candidates: int
    id: UUID | int | None
    manufacturer_org_id: UUID
    lease_token: UUID
    attempts: int
    exhausted: bool
    waited: float | None


class LeasedRepository(Repository):
    """The queue of one kind, in one transaction. A write under a lost lease raises LeaseLost and changes nothing."""

    def __init__(self, session: AsyncSession, queue: Queue) -> None:
        super().__init__(session)
        self._queue = queue

    async def claim(self, slots: int, *, lease_seconds: float, **values: Any) -> list[Claim]:
        """Claims up to `slots` due rows, organisations in turn, then by priority, then by age. Counts the attempt.
        `values` are the parameters of the queue's `claimed_if`.
        """
        queue = self._queue
        candidates = slots + SPARE_CANDIDATES
        while True:
            asked_at = time.monotonic()
            rows = await self._fetch_all(
                ClaimedRow,
                _claim_statement(queue),
                kind=queue.kind,
                slots=slots,
                candidates=candidates,
                lease_seconds=lease_seconds,
                max_attempts=queue.max_attempts,
                **values,
            )
            if rows[0].id is not None:
                return [self._claim_of(row, asked_at) for row in rows]
            if rows[0].candidates < candidates:
                return []
            # Over-fetching cannot deadlock: no row is locked yet.
            candidates *= FURTHER

    def _claim_of(self, row: ClaimedRow, asked_at: float) -> Claim:
        assert row.id is not None
        return Claim(
            self._queue.kind, row.id, row.lease_token, row.manufacturer_org_id, row.attempts, row.exhausted,
            row.waited, asked_at,
        )  # fmt: skip

    async def hold(self, claim: Claim) -> None:
        """Locks the claimed row: until the transaction ends, nobody can cancel or take over the work. Raises
        LeaseLost.
        """
        statement = f"SELECT 1 FROM {self._queue.table} WHERE {self._queue.fence} FOR NO KEY UPDATE"
        if await self._find_value(int, statement, id=claim.id, lease_token=claim.token) is None:
            raise LeaseLost(claim)

    async def renew(self, claim: Claim, *, lease_seconds: float) -> None:
        """Renews the lease, even after it has expired, if nobody has taken over the work."""
        renewed = "updated_at = now(), lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)"
        await self._update(claim, renewed, lease_seconds=lease_seconds)

    async def finish(self, claim: Claim) -> None:
        await self._update(claim, self._queue.finished)

    async def postpone(self, claim: Claim, seconds: float) -> None:
        """Sets the earliest time of the next attempt, for the case that this one fails."""
        run_at = "updated_at = now(), run_at = clock_timestamp() + make_interval(secs => :seconds)"
        await self._update(claim, run_at, seconds=seconds)

    async def fail(self, claim: Claim, error: str, *, permanent: bool) -> float | None:
        """Requeues the work with back-off and returns the seconds of the back-off. If the failure is `permanent` or no
        attempt is left, ends the work as failed and returns None.
        """
        queue = self._queue
        if permanent or claim.exhausted or claim.attempts >= queue.max_attempts:
            await self._update(claim, f"{queue.ended(queue.failed)}, {queue.error} = :error", error=error)
            return None
        step = queue.backoff_seconds[min(claim.attempts, len(queue.backoff_seconds)) - 1]
        delay = step * uniform(*JITTER)  # noqa: S311 - jitter is no secret
        due = "run_at = GREATEST(run_at, clock_timestamp() + make_interval(secs => :delay))"
        await self._update(claim, f"{queue.released}, {due}, {queue.error} = :error", delay=delay, error=error)
        return delay

    async def repeat(self, claim: Claim, *, after: float, error: str | None = None) -> None:
        """Requeues recurring work with all attempts, due in `after` seconds."""
        queue = self._queue
        due = "run_at = clock_timestamp() + make_interval(secs => :after)"
        await self._update(
            claim, f"{queue.released}, attempts = 0, {due}, {queue.error} = :error", after=after, error=error
        )

    async def release(self, claim: Claim) -> None:
        """Returns the work to the queue, due as before. Does not count the attempt: an interruption is not a
        failure.
        """
        await self._update(claim, f"{self._queue.released}, attempts = attempts - 1")

    async def cancel(self, id_: UUID | int) -> None:
        """Ends the work, whoever holds it. Its worker gets LeaseLost at its next write."""
        await self._execute(f"UPDATE {self._queue.table} SET {self._queue.ended('cancelled')} WHERE id = :id", id=id_)

    async def requeue(self, id_: UUID | int) -> None:
        """Queues the work again: due now, with all attempts."""
        await self._execute(f"UPDATE {self._queue.table} SET {self._queue.requeued} WHERE id = :id", id=id_)

    async def _update(self, claim: Claim, assignments: str, **values: Any) -> None:
        statement = f"UPDATE {self._queue.table} SET {assignments} WHERE {self._queue.fence}"
        await self._execute_fenced(claim, statement, **values)
