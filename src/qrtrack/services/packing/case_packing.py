"""Packing a case from the queue. One lock per batch decides who is next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from qrtrack.database import Database
from qrtrack.domain.errors import Conflict, FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.case_packing import (
    CaseAlreadyPacked,
    CaseOfOtherBatch,
    PackCase,
    QueueRow,
    Run,
    Skipped,
    VariantMismatch,
    choose_run,
)
from qrtrack.domain.packing.code_lists import refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges
from qrtrack.domain.packing.states import CaseStatus
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.case_packing import Packing
from qrtrack.services.packing.check_scans import CheckScans, find_scans, refuse_crossing

log = structlog.get_logger()

# Rows read beyond the case's units, so that a few that are no longer packable do not cost a second look.
WINDOW_SPARE = 32
# A consumer's scan can take a code between the look and the write; three in a row do not happen by chance.
TRIES = 3


@dataclass(frozen=True, slots=True)
class CaseInfo:
    master_code: str
    case_number: int
    expected_units: int
    actual_units: int
    completeness: str | None
    first_code: str | None
    last_code: str | None


@dataclass(frozen=True, slots=True)
class PackedCase:
    """`skipped`: what waits in the queue before a scanned first unit. `left_queue`: units that were not packed, because
    a consumer had checked them.
    """

    master_code_info: CaseInfo
    linked_codes: Sequence[str]
    linked_count: int
    consumed_count: int
    left_queue: Sequence[str]
    skipped: Skipped | None
    from_queue: bool = True


class CodeTakenMeanwhile(Conflict):
    """Another request took one of the units at this moment: nothing was changed, send it again."""

    slug = "code-taken-meanwhile"
    title = "A unit was taken in the meantime"

    def __init__(self) -> None:
        super().__init__("A unit was scanned by somebody else at this moment. Nothing was changed: send it again.")


async def pack_case(database: Database, *, caller: Caller, order: PackCase) -> PackedCase:
    """Takes the next units of the queue, one contiguous run in serial order, into the case: all or nothing.

    Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed, CaseOfOtherBatch, CaseAlreadyPacked, VariantMismatch,
    UnitOfOtherBatch, FirstCodeNotPrepared, NotEnoughPrepared, CountDrift.
    """
    for _ in range(TRIES):
        try:
            async with database.write(
                tenant=caller.organisation_id, batch_lock=order.batch_id, by_keys=True
            ) as repositories:
                box, queue = await _open_case(repositories, order)
                target = _target(box, order.target_units)
                scans = await find_scans(repositories, order, box)
                run, skipped = await _choose(repositories, order, box, queue, target=target, scans=scans)
                await _exclude_missing(repositories, caller, order, scans.missing)
                left = [row for row in run.stale if row.checked]
                await _record_checked(repositories, caller, order, left)
                await _pack(repositories, caller, order, box, run)
                return repositories.answer(_packed(box, run, skipped, left))
        except CodeTakenMeanwhile:
            continue
    raise CodeTakenMeanwhile


async def _open_case(repositories: Repositories, order: PackCase) -> tuple[Any, list[QueueRow]]:
    """The case, and the head of the queue, which it is most likely filled from."""
    box, queue = await repositories.case_packing.context(
        order.batch_id,
        order.order_id,
        order.master_code,
        units=order.target_units,
        spare=WINDOW_SPARE + len(order.missing_codes),
    )
    if box.case_batch_id != order.batch_id:
        raise CaseOfOtherBatch(master_code=order.master_code)
    if box.status != CaseStatus.OPEN:
        raise CaseAlreadyPacked(master_code=order.master_code, master_code_info=case_members(box))
    if order.variant is not None and order.variant != box.variant:
        raise VariantMismatch(master_code=order.master_code, variant=box.variant)
    refuse_foreign(order.scans, box)
    return box, queue


def case_members(box: Any) -> Mapping[str, Any]:
    """A packed case as refusals tell of it."""
    return {name: getattr(box, name) for name in CaseInfo.__slots__} | {
        "packed_at": box.packed_at,
        "packed_by": box.packed_by,
        "station": box.station,
    }


def _target(box: Any, asked: int | None) -> int:
    expected = int(box.expected_units)
    if asked is None:
        return expected
    if not 1 <= asked <= expected:
        raise InvalidInput(
            f"The case holds {expected} units, not {asked}.",
            errors=[
                FieldError(
                    "/target_units",
                    f"From 1 to {expected} for this case.",
                    FieldCode.OUT_OF_RANGE,
                    {"min": 1, "max": expected},
                )
            ],
        )
    return asked


async def _choose(
    repositories: Repositories, order: PackCase, box: Any, queue: list[QueueRow], *, target: int, scans: CheckScans
) -> tuple[Run, Skipped | None]:
    queue, skipped = await _read_on(repositories, box, queue, target=target, scans=scans)
    not_queued: Sequence[str] = ()
    if scans.last is not None and queue:
        start = min(queue[0].sequence_number, scans.last.sequence_number)
        rows = await repositories.prepared_codes.not_queued_between(
            order.batch_id, start, scans.last.sequence_number, limit=1000
        )
        not_queued = [row.code for row in rows]
    run = choose_run(
        queue,
        target=target,
        allow_partial=order.allow_partial,
        first=scans.first,
        last=scans.last,
        missing=scans.missing,
        not_queued=not_queued,
    )
    if scans.first is not None or scans.last is not None:
        await refuse_crossing(repositories, order, run, scans)
    return run, skipped


async def _read_on(
    repositories: Repositories, box: Any, queue: list[QueueRow], *, target: int, scans: CheckScans
) -> tuple[list[QueueRow], Skipped | None]:
    """From the first scanned unit through the target-th packable row and the last scanned unit, or all there is.

    And what the scanned unit leaves behind in the queue: read with the rest, since linking is hot.
    """
    limit, skipped = target + len(scans.missing) + WINDOW_SPARE, None
    packing, batch_id, last = repositories.case_packing, box.case_batch_id, box.last_sequence
    if scans.first is not None and (not queue or queue[0].sequence_number != scans.first.sequence_number):
        first, head = scans.first.sequence_number, max(box.queue_head, box.first_sequence)
        queue, skipped = await packing.window_behind(batch_id, first, last, head=head, limit=limit)
    while len(queue) >= limit:
        takable = sum(row.packable and row.sequence_number not in scans.missing for row in queue)
        reached = scans.last is None or queue[-1].sequence_number >= scans.last.sequence_number
        if takable >= target and (reached or limit >= 10 * target + WINDOW_SPARE):
            break
        limit *= 2
        queue = await packing.window(batch_id, queue[0].sequence_number, last, limit=limit)
    return queue, skipped


async def _exclude_missing(
    repositories: Repositories, caller: Caller, order: PackCase, missing: frozenset[int]
) -> None:
    if not missing:
        return
    sequences = sorted(missing)
    await repositories.codes.exclude(
        order.batch_id, sequences, organisation_id=caller.organisation_id, job_id=None, actor=caller.user_id
    )
    await repositories.prepared_codes.close(order.batch_id, sequences, consumed=False)
    await repositories.trace.add(
        "codes.missing",
        organisation_id=caller.organisation_id,
        actor=caller.user_id,
        batch_id=order.batch_id,
        station=order.station,
        reason=f"Found missing while packing {order.master_code}",
        ranges=as_ranges(sequences),
    )


async def _record_checked(
    repositories: Repositories, caller: Caller, order: PackCase, rows: Sequence[QueueRow]
) -> None:
    """Units whose key a consumer had before they left the plant: perhaps a label, or a box, went astray."""
    if not rows:
        return
    log.warning("checked-before-packed", batch_id=str(order.batch_id), codes=[row.code for row in rows])
    await repositories.trace.add(
        "codes.checked_before_packed",
        organisation_id=caller.organisation_id,
        actor=caller.user_id,
        batch_id=order.batch_id,
        station=order.station,
        reason=f"A consumer had checked them before {order.master_code} was packed",
        ranges=as_ranges(row.sequence_number for row in rows),
    )


async def _pack(repositories: Repositories, caller: Caller, order: PackCase, box: Any, run: Run) -> None:
    rows = run.rows
    behind = rows[-1].sequence_number + 1
    from_head = order.first_code is None or rows[0].sequence_number <= box.queue_head
    packing = Packing(
        batch_id=order.batch_id,
        organisation_id=caller.organisation_id,
        case_id=box.case_id,
        master_code=box.master_code,
        case_number=box.case_number,
        code_ids=[row.code_id for row in rows],
        prepared_ids=[row.prepared_id for row in rows],
        sequences=[row.sequence_number for row in rows],
        stale_ids=[row.prepared_id for row in run.stale],
        first_code=rows[0].code,
        last_code=rows[-1].code,
        completeness=run.completeness,
        run_first=box.first_sequence,
        queue_head=min(behind, box.filling_from or behind) if from_head else box.queue_head,
        actor=caller.user_id,
        station=order.station,
    )
    if not await repositories.case_packing.pack(packing):
        raise CodeTakenMeanwhile


def _packed(box: Any, run: Run, skipped: Skipped | None, left: Sequence[QueueRow]) -> PackedCase:
    rows = run.rows
    return PackedCase(
        master_code_info=CaseInfo(
            master_code=box.master_code,
            case_number=box.case_number,
            expected_units=box.expected_units,
            actual_units=len(rows),
            completeness=run.completeness,
            first_code=rows[0].code,
            last_code=rows[-1].code,
        ),
        linked_codes=[row.code for row in rows],
        linked_count=len(rows),
        consumed_count=len(rows),
        left_queue=[row.code for row in left],
        skipped=skipped,
    )
