"""Small work is leased in groups: one row stands for all pieces that are taken together.

The pieces themselves are written once, when they end. What was in a group that failed, or whose worker is gone, is
tried one by one from then on. On the driver's own connection, since it is hot.
"""

from collections.abc import Sequence
from uuid import UUID

from qrtrack.domain.claims import Group, LeaseLost
from qrtrack.metrics import LOST_WRITES, TAKEN_OVER
from qrtrack.repositories.base import Connection
from qrtrack.repositories.leased import NEXT, SERVED, Queue

# A claim looks at so many times its pieces, shared by the organisations that wait: with all that could be of each, a
# thousand of them were 300,000 to sort for every 300. Where nearly all is of one of many, groups are smaller instead.
LOOKED_AT = 10
LEAST_OF_EACH = 16

# One round trip, and one transaction of several statements, none of which can have parameters. Claimers take turns, so
# that each sees what the one before it has taken, and a turn is no longer than the claim takes inside of the server. A
# claim that a crash of the server undoes is none, so that the disk need not be waited for.
CLAIM = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off;"
    " SELECT pg_advisory_xact_lock(hashtextextended('claim ' || {kind}, 0));"
    + NEXT
    + """, taken AS (
    INSERT INTO leased_groups (token, kind, ids, lease_expires_at)
    SELECT '{token}', {kind}, array_agg(id), clock_timestamp() + make_interval(secs => {lease_seconds})
    FROM next HAVING count(*) > 0
), """
    + SERVED
    + " SELECT FROM next"
)
CLAIMED = """
SELECT seen.lapsed, job.id, job.manufacturer_org_id, {carries},
       date_part('epoch', taken.claimed_at - job.run_at) AS waited
FROM (SELECT EXISTS (SELECT FROM leased_groups WHERE kind = $1 AND lease_expires_at < now()) AS lapsed) AS seen
LEFT JOIN (leased_groups AS taken JOIN {table} AS job ON job.id = ANY(taken.ids)) ON taken.token = $2
"""

FINISH = """
WITH over AS (DELETE FROM leased_groups WHERE token = $1 RETURNING claimed_at
), done AS (
    UPDATE {table} AS job
    SET status = ended.word, attempts = job.attempts + 1, started_at = over.claimed_at,
        finished_at = clock_timestamp(), updated_at = now(), {error} = NULL{assignments}
    FROM over, unnest($2::bigint[], $3::text[], $4::text[]) AS ended (id, word, remark)
    WHERE job.id = ended.id AND {live}
    RETURNING job.id
)
SELECT done.id FROM over LEFT JOIN done ON true
"""

# A piece that somebody else is writing is not waited for, as it may be for long: it is as if it had not been taken.
BREAK_UP = """
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
# A worker that is writing the end of its group at this moment holds its row: it was in time.
LAPSED = """token IN (
    SELECT token FROM leased_groups WHERE kind = $1 AND lease_expires_at < now() FOR UPDATE SKIP LOCKED)"""


class GroupRepository:
    """The groups of one kind. Whoever deletes the row of a group decides about its pieces."""

    def __init__(self, connection: Connection, queue: Queue) -> None:
        self._connection = connection
        self._queue = queue

    async def claim(self, token: UUID, size: int, *, lease_seconds: float) -> Group | None:
        """Takes up to `size` due pieces that were never tried, in the order of any claim; None when there are none.

        On a connection where each statement commits by itself: a turn would else last until the caller's commit.
        """
        queue = self._queue
        await self._connection.execute(self._claim(token, size, lease_seconds))
        claimed = CLAIMED.format(table=queue.table, carries=", ".join(queue.carries))
        pieces = await self._connection.fetch(claimed, queue.kind, token)
        if pieces[0]["lapsed"]:
            async with self._connection.transaction(isolation="read_committed"):
                broken_up = await self._break_up(LAPSED, queue.kind)
            TAKEN_OVER.labels(queue.kind).inc(broken_up)
        return None if pieces[0]["id"] is None else Group(queue.kind, token, pieces)

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
        group: Group,
        ids: Sequence[int],
        words: Sequence[str],
        remarks: Sequence[str | None],
        assignments: str = "",
    ) -> set[int]:
        """Ends pieces of the group, each with its own word for how; those it has left are free again. Returns which
        it had: others may have been taken out of it. LeaseLost when the group is no longer held.

        `remarks` stand beside the words, named `ended.remark` in the assignments.
        """
        queue = self._queue
        statement = FINISH.format(
            table=queue.table,
            live=queue.live,
            error=queue.error,
            assignments=f", {assignments}" if assignments else "",
        )
        ended = {row[0] for row in await self._connection.fetch(statement, group.token, ids, words, remarks)}
        if not ended:
            raise _lost(group)
        return ended - {None}

    async def break_up(self, group: Group) -> None:
        """The attempt of each piece is counted; from here on each is tried by itself. LeaseLost as above."""
        if not await self._break_up("token = $1", group.token):
            raise _lost(group)

    async def _break_up(self, which: str, value: object) -> int:
        """Groups that were."""
        statement = BREAK_UP.format(table=self._queue.table, live=self._queue.live, which=which)
        return int(await self._connection.fetchval(statement, value))

    async def release(self, token: UUID) -> None:
        """All pieces are free again, as if they had never been taken."""
        await self._connection.execute("DELETE FROM leased_groups WHERE token = $1", token)


def _lost(group: Group) -> LeaseLost:
    LOST_WRITES.labels(group.kind).inc()
    return LeaseLost(group)
