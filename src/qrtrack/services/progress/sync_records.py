"""Reports of outcomes: each is counted as a whole or not at all, and those that meet are counted together."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_batches import Outcome, SurplusRecords, SyncCancelled, SyncStatus
from qrtrack.repositories.progress.sync_records import RecordIntake, Standing

# What a statement inserts in tens of milliseconds.
RECORDS_TOGETHER: Final = 2000
# While one waits for the disk, the others insert. A busy batch leaves the other connections to everybody else.
GROUPS_AT_A_TIME: Final = 3

Report = Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class ReportedRecords:
    """`accepted` were counted now, `repeated` before (or twice in this request). How the batch stood then."""

    batch_id: UUID
    accepted: int
    repeated: int
    status: str
    processed_records: int
    total_records: int
    progress_percentage: int


@dataclass(slots=True)
class _Waiting:
    report: Report
    answer: asyncio.Future[ReportedRecords] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True)
class _Lane:
    """What waits for one batch, and how many groups of it are being counted."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    counting: int = 0


class ReportGroups:
    """The reports of this process that wait for their batch. While some are being counted, the next ones gather.

    The batch's row is locked until the commit is on disk: one after the other, 1,037 reports would wait for as many
    commits.
    """

    def __init__(self) -> None:
        self._lanes: dict[tuple[UUID, UUID], _Lane] = {}
        self._counting: set[asyncio.Task[None]] = set()

    async def report(
        self, database: Database, *, organisation_id: UUID, batch_id: UUID, report: Report
    ) -> ReportedRecords:
        lane = self._lanes.setdefault((organisation_id, batch_id), _Lane())
        mine = _Waiting(report)
        lane.waiting.append(mine)
        if lane.counting < GROUPS_AT_A_TIME:
            lane.counting += 1
            # In a task of its own: a caller may hang up while others wait.
            task = asyncio.create_task(self._count_all(database, organisation_id, batch_id, lane))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)
        return await mine.answer

    async def _count_all(self, database: Database, organisation_id: UUID, batch_id: UUID, lane: _Lane) -> None:
        group: list[_Waiting] = []
        try:
            while group := _next_group(lane.waiting):
                await _count_group(database, organisation_id, batch_id, group)
        finally:
            # Nobody may wait for a task that was cancelled.
            _give_all(group, DatabaseUnavailable())
            lane.counting -= 1
            if lane.counting == 0:
                _give_all(lane.waiting, DatabaseUnavailable())
                self._lanes.pop((organisation_id, batch_id), None)


def _next_group(waiting: deque[_Waiting]) -> list[_Waiting]:
    """Without those whose callers have gone."""
    group: list[_Waiting] = []
    records = 0
    while waiting and (not group or records + len(waiting[0].report) <= RECORDS_TOGETHER):
        one = waiting.popleft()
        if not one.answer.done():
            group.append(one)
            records += len(one.report)
    return group


async def _count_group(database: Database, organisation_id: UUID, batch_id: UUID, group: Sequence[_Waiting]) -> None:
    """Where they cannot be counted together, each is counted or refused by itself."""
    try:
        async with database.write(tenant=organisation_id, by_keys=True) as repositories:
            reports = [one.report for one in group]
            answers = await _report(repositories.record_intake, organisation_id, batch_id, reports)
    except (NotFound, SurplusRecords, SyncCancelled) as refusal:
        if len(group) == 1:
            _give_all(group, refusal)
            return
        for one in group:
            await _count_group(database, organisation_id, batch_id, [one])
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
        _give_all(group, error)
    else:
        for one, answer in zip(group, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)


def _give_all(group: Sequence[_Waiting], error: Exception) -> None:
    for one in group:
        if not one.answer.done():
            one.answer.set_exception(error)


async def report_records(
    database: Database, groups: ReportGroups, *, caller: Caller, batch_id: UUID, outcomes: Report
) -> ReportedRecords:
    """The outcomes and their count, in one short transaction: all of the request, or nothing of it. Who counts the last
    record ends the batch. Raises NotFound, SurplusRecords, SyncCancelled.
    """
    organisation_id = caller.organisation_id
    if database.request is None:
        return await groups.report(database, organisation_id=organisation_id, batch_id=batch_id, report=outcomes)
    # A repeatable request has a key to commit with its effect.
    async with database.write(tenant=organisation_id, by_keys=True, busy_row=batch_id) as repositories:
        (answer,) = await _report(repositories.record_intake, organisation_id, batch_id, [outcomes])
        return repositories.answer(answer)


async def _report(
    intake: RecordIntake, organisation_id: UUID, batch_id: UUID, reports: Sequence[Report]
) -> list[ReportedRecords]:
    outcomes = [outcome for report in reports for outcome in report]
    inserted = await intake.insert(batch_id, organisation_id, outcomes)
    standing = await (intake.count(batch_id, inserted) if inserted.count else intake.find(batch_id))
    if standing is None:
        raise _refusal(await intake.find(batch_id), outcomes, set(inserted.keys))
    new = set(inserted.keys)
    answers = []
    for report in reports:
        # Of a key in several reports the first one's outcome was inserted, as it came first.
        accepted = new & {outcome.key for outcome in report}
        new -= accepted
        answers.append(_answer(batch_id, standing, accepted=len(accepted), repeated=len(report) - len(accepted)))
    return answers


def _answer(batch_id: UUID, standing: Standing, *, accepted: int, repeated: int) -> ReportedRecords:
    return ReportedRecords(
        batch_id,
        accepted=accepted,
        repeated=repeated,
        status=standing.status,
        processed_records=standing.processed_records,
        total_records=standing.total_records,
        progress_percentage=standing.progress_percentage,
    )


def _refusal(standing: Standing, outcomes: Report, new: set[str]) -> SurplusRecords | SyncCancelled:
    """Why the new records could not be counted."""
    if standing.status == SyncStatus.CANCELLED:
        return SyncCancelled()
    in_order = list(dict.fromkeys(outcome.key for outcome in outcomes if outcome.key in new))
    return SurplusRecords(total=standing.total_records, processed=standing.processed_records, new_keys=in_order)
