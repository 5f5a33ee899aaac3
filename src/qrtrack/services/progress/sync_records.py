"""Reports of records: each report is counted completely or not at all. Concurrent reports for one batch share a
transaction, if they are in one process and have no Idempotency-Key.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_batches import SyncCancelled, SyncStatus
from qrtrack.domain.progress.sync_records import RecordOutcome, SurplusRecords
from qrtrack.repositories.progress.sync_records import FoundFailure, Standing, SyncRecordRepository

# One statement inserts this many records in tens of milliseconds.
RECORDS_TOGETHER: Final = 2000
# For one batch: while one group commits, the other groups insert. The remaining pool stays free for other work.
GROUPS_AT_A_TIME: Final = 3

Report: TypeAlias = Sequence[RecordOutcome]


class CountedReport(NamedTuple):
    """The result of a report. `accepted`: records that were counted now. `repeated`: records that were counted before,
    or twice in this report. The other fields are the batch's state.
    """

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
    answer: asyncio.Future[CountedReport] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True)
class _BatchQueue:
    """The waiting reports of one batch. `counting`: how many groups are being counted."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    counting: int = 0


class ReportGroups:
    """Group commit: while some reports of a batch are being counted, the next ones form a group.

    A report locks its batch's row until its commit is on disk. Without groups, 1,037 reporters in one process take 33
    times as long (benchmarks/progress.py).
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[UUID, UUID], _BatchQueue] = {}
        self._counting: set[asyncio.Task[None]] = set()

    async def report(
        self, database: Database, *, organisation_id: UUID, batch_id: UUID, report: Report
    ) -> CountedReport:
        queue = self._queues.setdefault((organisation_id, batch_id), _BatchQueue())
        mine = _Waiting(report)
        queue.waiting.append(mine)
        if queue.counting < GROUPS_AT_A_TIME:
            queue.counting += 1
            # Counts in a separate task: a caller that disconnects must not cancel the reports of others.
            task = asyncio.create_task(self._count_all(database, organisation_id, batch_id, queue))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)
        return await mine.answer

    async def _count_all(self, database: Database, organisation_id: UUID, batch_id: UUID, queue: _BatchQueue) -> None:
        group: list[_Waiting] = []
        try:
            while group := _next_group(queue.waiting):
                await _count_group(database, organisation_id, batch_id, group)
        finally:
            # After a cancellation, nobody else would answer these reports.
            _fail_all(group, DatabaseUnavailable())
            queue.counting -= 1
            if queue.counting == 0:
                _fail_all(queue.waiting, DatabaseUnavailable())
                self._queues.pop((organisation_id, batch_id), None)


def _next_group(waiting: deque[_Waiting]) -> list[_Waiting]:
    """Takes the next reports, up to RECORDS_TOGETHER records. Skips reports whose callers have disconnected."""
    group: list[_Waiting] = []
    records = 0
    while waiting and (not group or records + len(waiting[0].report) <= RECORDS_TOGETHER):
        one = waiting.popleft()
        if not one.answer.done():
            group.append(one)
            records += len(one.report)
    return group


async def _count_group(database: Database, organisation_id: UUID, batch_id: UUID, group: Sequence[_Waiting]) -> None:
    """Counts a group. If the group is refused, counts or refuses each of its reports separately."""
    try:
        async with database.write(tenant=organisation_id, by_keys=True) as repositories:
            reports = [one.report for one in group]
            answers = await _count_reports(repositories.sync_records, organisation_id, batch_id, reports)
    except (NotFound, SurplusRecords, SyncCancelled) as refusal:
        if len(group) == 1:
            _fail_all(group, refusal)
            return
        for one in group:
            await _count_group(database, organisation_id, batch_id, [one])
    except Exception as error:  # noqa: BLE001 - each waiting caller raises it
        _fail_all(group, error)
    else:
        for one, answer in zip(group, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)


def _fail_all(group: Sequence[_Waiting], error: Exception) -> None:
    for one in group:
        if not one.answer.done():
            one.answer.set_exception(error)


async def report_records(
    database: Database, groups: ReportGroups, *, caller: Caller, batch_id: UUID, outcomes: Report
) -> CountedReport:
    """Stores and counts all outcomes in one transaction, or none. The report with the last record ends the batch.

    Raises NotFound, SurplusRecords, SyncCancelled.
    """
    organisation_id = caller.organisation_id
    if database.request is None:
        return await groups.report(database, organisation_id=organisation_id, batch_id=batch_id, report=outcomes)
    # An Idempotency-Key must be committed with its own report, so this report joins no group.
    async with database.write(tenant=organisation_id, by_keys=True, busy_row=batch_id) as repositories:
        (answer,) = await _count_reports(repositories.sync_records, organisation_id, batch_id, [outcomes])
        return repositories.answer(answer)


async def _count_reports(
    records: SyncRecordRepository, organisation_id: UUID, batch_id: UUID, reports: Sequence[Report]
) -> list[CountedReport]:
    outcomes = [outcome for report in reports for outcome in report]
    inserted = await records.insert(batch_id, organisation_id, outcomes)
    standing = await (records.count(batch_id, inserted) if inserted.reported else records.find(batch_id))
    new = set(inserted.keys)
    if standing is None:
        raise _refusal(await records.find(batch_id), outcomes, new)
    answers = []
    for report in reports:
        # Of equal keys, the statement inserts the first one, so the first report with a key counts it as accepted.
        accepted = new & {outcome.key for outcome in report}
        new -= accepted
        answers.append(CountedReport(batch_id, len(accepted), len(report) - len(accepted), *standing))
    return answers


def _refusal(standing: Standing, outcomes: Report, new: set[str]) -> SurplusRecords | SyncCancelled:
    """Returns why the new records were not counted."""
    if standing.status == SyncStatus.CANCELLED:
        return SyncCancelled()
    in_order = list(dict.fromkeys(outcome.key for outcome in outcomes if outcome.key in new))
    return SurplusRecords(total=standing.total_records, processed=standing.processed_records, new_keys=in_order)


async def list_failures(
    database: Database, *, caller: Caller, batch_id: UUID, after: tuple[datetime, str] | None, limit: int
) -> Sequence[FoundFailure]:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.sync_batches.get(batch_id)
        return await repositories.sync_records.list_failures(batch_id, after=after, limit=limit)
