"""Leases small work in groups: one row of `leased_groups` holds the lease of all pieces that were claimed together.

A piece's own row is written once, when the piece ends. If a group fails or its lease expires, its pieces are retried
one by one. This is a hot path, so it uses the driver's connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple
from uuid import UUID

from qrtrack.domain.claims import Group, LeaseLost, PieceT
from qrtrack.repositories.base import Connection, DriverRepository, rows_in
from qrtrack.repositories.leased import NEXT, SERVED, Queue

# How many candidates a claim reads, in multiples of its size, shared among the waiting organisations. With a full group
# for each, 1,000 organisations made the claim sort 300,000 rows to take 300. With this limit, groups get smaller when
# one of many organisations owns nearly all work.
LOOKED_AT: Final = 10
LEAST_OF_EACH: Final = 16

# One round trip: a transaction of several statements, which can have no parameters. The lock makes each claimer see the
# groups of the claimer before it; it is held only while the claim runs inside the server. The commit does not wait for
# the disk: if a crash of the server undoes the claim, the pieces are still queued, and the worker gets LeaseLost.
# asyncpg returns no rows of such a transaction, only the row count of its last SELECT, so that SELECT finds the groups
# whose lease has expired.
CLAIM: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off;"
    " SELECT pg_advisory_xact_lock(hashtextextended('claim ' || {kind}, 0));"
    + NEXT
    + """, taken AS (
    INSERT INTO leased_groups (token, kind, ids, lease_expires_at)
    SELECT '{token}', {kind}, array_agg(id), clock_timestamp() + make_interval(secs => {lease_seconds})
    FROM next HAVING count(*) > 0
), """
    + SERVED
    + " SELECT FROM leased_groups WHERE kind = {kind} AND lease_expires_at < now()"
)
CLAIMED: Final = """
SELECT job.id, date_part('epoch', taken.claimed_at - job.run_at) AS waited, {columns}
FROM leased_groups AS taken
JOIN {table} AS job ON job.id = ANY(taken.ids)
WHERE taken.token = :token
ORDER BY job.id
"""

FINISH: Final = """
WITH over AS (DELETE FROM leased_groups WHERE token = :token RETURNING claimed_at
), done AS (
    UPDATE {table} AS job
    SET status = ended.word, attempts = job.attempts + 1, started_at = over.claimed_at,
        finished_at = clock_timestamp(), updated_at = now(), {error} = NULL{assignments}
    FROM over, unnest(CAST(:ids AS bigint[]), CAST(:words AS text[]), CAST(:remarks AS text[]))
         AS ended (id, word, remark)
    WHERE job.id = ended.id AND {live}
    RETURNING job.id
)
SELECT done.id FROM over LEFT JOIN done ON true
"""

# A piece that another transaction has locked is skipped and stays claimable: waiting could take long.
BREAK_UP: Final = """
WITH over AS (DELETE FROM leased_groups WHERE {which} RETURNING ids, claimed_at
), free AS (
    SELECT job.id, over.claimed_at FROM over JOIN {table} AS job ON job.id = ANY(over.ids) AND {live}
    FOR UPDATE OF job SKIP LOCKED
), alone AS (
    UPDATE {table} AS job SET attempts = job.attempts + 1, started_at = free.claimed_at, updated_at = now()
    FROM free WHERE job.id = free.id
)
SELECT count(*) FROM over
"""
OWN: Final = "token = :token"
# SKIP LOCKED: a worker that is just finishing its group holds its row, and may finish.
LAPSED: Final = """token IN (
    SELECT token FROM leased_groups WHERE kind = :kind AND lease_expires_at < now() FOR UPDATE SKIP LOCKED)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupQueue(Queue, Generic[PieceT]):
    """A queue of work so small that another read would double its cost: the claim of a group also returns the pieces.
    `columns`: SQL for the fields of `piece`, which are columns of `job`.
    """

    piece: type[PieceT]
    columns: str


class Due(NamedTuple):
    """A claimed piece of any kind. `waited`: how many seconds it had been due."""

    id: int
    waited: float


class Finished(NamedTuple):
    """The id of a piece that was ended. None if the group is held, but all these pieces were ended by others."""

    id: int | None


class GroupRepository(DriverRepository, Generic[PieceT]):
    """The groups of one kind. Deleting the group's row decides the race: only the worker that deleted it may write its
    pieces.
    """

    def __init__(self, connection: Connection, queue: GroupQueue[PieceT]) -> None:
        super().__init__(connection)
        self._queue = queue

    async def claim(self, token: UUID, size: int, *, lease_seconds: float) -> int:
        """Claims up to `size` due pieces that were never tried, in the common order of claims. Returns the number of
        groups of the kind whose lease has expired.

        Needs an autocommit connection: otherwise the lock would be held until the caller's commit.
        """
        return rows_in(await self._connection.execute(self._claim(token, size, lease_seconds)))

    async def claimed(self, token: UUID) -> Group[PieceT] | None:
        """Returns the group, or None if nothing was due."""
        queue = self._queue
        statement = CLAIMED.format(table=queue.table, columns=queue.columns)
        rows = await self._fetch_pairs(Due, queue.piece, statement, token=token)
        if not rows:
            return None
        first, last = rows[0][0].id, rows[-1][0].id
        id_ = str(first) if first == last else f"{first}…{last}"
        return Group(queue.kind, id_, token, max(due.waited for due, _ in rows), [piece for _, piece in rows])

    def _claim(self, token: UUID, size: int, lease_seconds: float) -> str:
        queue = self._queue
        free = f"job.id NOT IN (SELECT unnest(ids) FROM leased_groups WHERE kind = '{queue.kind}')"
        return CLAIM.format(
            table=queue.table,
            live=queue.live,
            claimable=f"{queue.live} AND job.run_at <= now() AND {free}",
            kind=f"'{queue.kind}'",
            candidates=int(size),
            of_each=f"(SELECT GREATEST({LOOKED_AT * int(size)} / count(*), {LEAST_OF_EACH}) FROM organisation)",
            token=token,
            lease_seconds=float(lease_seconds),
            claimed="next",
        )

    async def finish(
        self,
        group: Group[PieceT],
        ids: Sequence[int],
        words: Sequence[str],
        remarks: Sequence[str | None],
        assignments: str = "",
    ) -> set[int]:
        """Ends these pieces, each in its own terminal status (`words`), and releases the others. Returns the ids of the
        pieces that this call ended: other transactions may have ended some before. Raises LeaseLost.

        `remarks` has a text for each piece, which `assignments` can use as `ended.remark`.
        """
        queue = self._queue
        statement = FINISH.format(
            table=queue.table,
            live=queue.live,
            error=queue.error,
            assignments=f", {assignments}" if assignments else "",
        )
        rows = await self._fetch_all(Finished, statement, token=group.token, ids=ids, words=words, remarks=remarks)
        if not rows:
            raise LeaseLost(group)
        return {row.id for row in rows if row.id is not None}

    async def break_up(self, group: Group[PieceT]) -> None:
        """Deletes the group and counts one attempt of each piece: tried pieces are claimed one by one. A piece that
        another transaction has locked is not counted, so another group may claim it. Raises LeaseLost.
        """
        if not await self._fetch_value(int, self._break_up(OWN), token=group.token):
            raise LeaseLost(group)

    async def break_up_lapsed(self) -> int:
        """Breaks up all groups of the kind whose lease has expired. Returns the number of groups."""
        return await self._fetch_value(int, self._break_up(LAPSED), kind=self._queue.kind)

    def _break_up(self, which: str) -> str:
        return BREAK_UP.format(table=self._queue.table, live=self._queue.live, which=which)

    async def release(self, token: UUID) -> None:
        """Releases all pieces of the group. Does not count the attempt."""
        await self._execute("DELETE FROM leased_groups WHERE token = :token", token=token)
