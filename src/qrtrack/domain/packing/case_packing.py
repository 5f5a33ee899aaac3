"""Decides which units of the queue go into the next case, and refuses when the box and the queue disagree.

Pure functions: the service reads the queue under the batch lock, calls `choose_run`, and writes its result.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from qrtrack.domain.errors import Conflict, FieldError, InvalidInput, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.code_lists import ListedScan
from qrtrack.domain.packing.states import Completeness


@dataclass(frozen=True, slots=True)
class PackCase:
    """One case to pack from the queue. `first_code` and `last_code` are the units in the operator's hands. `scans` has
    the content of the scanned QR symbols of these units and of the missing units.
    """

    batch_id: UUID
    order_id: UUID
    master_code: str
    target_units: int | None = None
    allow_partial: bool = False
    variant: str | None = None
    first_code: str | None = None
    last_code: str | None = None
    missing_codes: Sequence[str] = ()
    scans: Sequence[ListedScan] = ()
    station: str | None = None


class NotEnoughPrepared(Conflict):
    """The queue holds fewer prepared units than the case needs."""

    slug = "not-enough-prepared"
    title = "Not enough prepared units"

    def __init__(self, *, available: int, target: int) -> None:
        remedy = "or pack the smaller case with allow_partial" if available else "and pack again"
        super().__init__(
            f"Only {available} of {target} units are prepared: prepare more of the batch, {remedy}.",
            available=available,
        )


class DriftCause(StrEnum):
    """Why the box and the queue disagree, as far as the check scans tell. Each cause needs another step.

    `unit_missing`: one of the codes is not in the box. `last_not_queued`: the scanned last unit may not be packed.
    `unit_not_queued`: one of the codes is in the box, and may not be packed. `too_few_units`: the box is not full.
    `wrong_start`: the scanned last unit comes before the case's first one. `wrong_end`: it lies several cases further
    on. `other_station`: another station packed the codes.
    """

    UNIT_MISSING = "unit_missing"
    LAST_NOT_QUEUED = "last_not_queued"
    UNIT_NOT_QUEUED = "unit_not_queued"
    TOO_FEW_UNITS = "too_few_units"
    WRONG_START = "wrong_start"
    WRONG_END = "wrong_end"
    OTHER_STATION = "other_station"


class CountDrift(Conflict):
    """The box and the queue disagree about which units are in the box. Nothing was packed."""

    slug = "count-drift"
    title = "The box does not match the queue"


class FirstCodeNotPrepared(Conflict):
    """The scanned first unit is not waiting in the queue."""

    slug = "first-code-not-prepared"
    title = "The first unit is not prepared"

    def __init__(self, *, code: str, state: str) -> None:
        super().__init__(
            f"{code} is {state} and not waiting in the queue: take it out of the box, or scan the box's real first "
            "unit.",
            state=state,
        )


class CaseOfOtherBatch(Conflict):
    """The master case was made for another batch."""

    slug = "case-of-other-batch"
    title = "The case belongs to another batch"

    def __init__(self, *, master_code: str) -> None:
        super().__init__(f"Case {master_code} belongs to another batch: take a case of the batch that you pack.")


class CaseAlreadyPacked(Conflict):
    """The case was packed before. Scanning a case twice does not pack a second run of units into it."""

    slug = "case-already-packed"
    title = "The case is already packed"

    def __init__(
        self, case: Mapping[str, Any], *, remedy: str = "and nothing was changed: scan the next case."
    ) -> None:
        super().__init__(f"Case {case['master_code']} is already packed, {remedy}", master_code_info=case)


class VariantMismatch(Conflict):
    """The case and the units, or the case and the request, are of different variants."""

    slug = "variant-mismatch"
    title = "The case is for another variant"

    def __init__(self, *, master_code: str, variant: str | None) -> None:
        what = "no variant" if variant is None else f"the variant {variant}"
        super().__init__(f"Case {master_code} is for {what}: take a case of the variant that you pack.")


class OrderMismatch(InvalidInput):
    """The batch was made for another order than the request names."""

    slug = "order-mismatch"
    title = "The batch belongs to another order"

    def __init__(self) -> None:
        detail = "The batch does not belong to this order: choose the order that the batch was made for."
        super().__init__(detail, errors=[FieldError("/order_id", detail, FieldCode.OF_OTHER_ORDER)])


class QueueRow(NamedTuple):
    """A prepared code. `packable` is false if it was excluded, voided, linked or checked after it was queued.

    `checked` says that a consumer has checked the unit although it is in no case.
    """

    prepared_id: int
    code_id: int
    sequence_number: int
    code: str
    packable: bool
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """Units that wait in the queue before the run. `more` says that there are more of them than `count`."""

    count: int
    first_code: str
    last_code: str
    more: bool


@dataclass(frozen=True, slots=True)
class ScannedUnit:
    """A unit of this batch in the operator's hands. The refusal shows `state` if the unit is not prepared."""

    sequence_number: int
    code: str
    state: str


@dataclass(frozen=True, slots=True)
class Run:
    """The units of one case: every packable unit of the queue from the first to the last, except missing ones.

    `stale` are the rows before the last unit that are no longer packable; the caller marks them invalid.
    """

    rows: tuple[QueueRow, ...]
    stale: tuple[QueueRow, ...]
    completeness: Completeness


def choose_run(
    queue: Sequence[QueueRow],
    *,
    target: int,
    allow_partial: bool = False,
    first: ScannedUnit | None = None,
    last: ScannedUnit | None = None,
    missing: AbstractSet[int] = frozenset(),
    not_queued: Sequence[str] = (),
) -> Run:
    """Chooses the units of the next case.

    `queue` has the prepared rows of the batch and variant in serial order, from `first` (or the head of the queue) on.
    The caller must read on until `queue` includes `target` packable rows that are not missing, or until the end of the
    queue. Further rows matter only for a `last` behind the run; if they end before `last`, the drift is a lower bound.
    `missing` has the sequence numbers of units that are not in the box; the caller excludes them. `not_queued` has the
    codes through `last` that are not in the queue; the refusal names them if the box ends too early.

    Raises FirstCodeNotPrepared, NotEnoughPrepared, CountDrift, and InvalidInput for a unit that cannot be missing.
    """
    _refuse_missing_in_hand(first, last, missing)
    takable = [row for row in queue if row.packable and row.sequence_number not in missing]
    if first and (not takable or takable[0].sequence_number != first.sequence_number):
        raise FirstCodeNotPrepared(code=first.code, state=first.state)
    rows = takable[:target]
    if not rows or (len(rows) < target and not allow_partial):
        raise NotEnoughPrepared(available=len(rows), target=target)
    end = rows[-1].sequence_number
    if last and last.sequence_number > end:
        is_read = last.code in not_queued or last.sequence_number <= queue[-1].sequence_number
        raise _box_reaches_further(takable, rows[-1], last, is_read=is_read)
    if last and last.sequence_number < end:
        raise _box_ends_early(rows, last, not_queued)
    # With fewer units than the case holds, the case takes the whole queue, so missing units may be at the queue's end.
    _refuse_missing_elsewhere(queue[0], rows[-1] if len(rows) == target else queue[-1], missing)
    return Run(
        rows=tuple(rows),
        stale=tuple(row for row in queue if not row.packable and row.sequence_number < end),
        completeness=Completeness.VERIFIED if first and last else Completeness.INFERRED,
    )


def _refuse_missing_in_hand(first: ScannedUnit | None, last: ScannedUnit | None, missing: AbstractSet[int]) -> None:
    contradicted = [unit.code for unit in (first, last) if unit and unit.sequence_number in missing]
    if contradicted:
        detail = (
            f"{contradicted[0]} was scanned as a unit of the box and cannot be missing from it: scan again, or correct "
            "missing_codes."
        )
        raise invalid_field("/missing_codes", detail, FieldCode.SCANNED_AND_MISSING, value=contradicted[0])


def _refuse_missing_elsewhere(start: QueueRow, end: QueueRow, missing: AbstractSet[int]) -> None:
    """Refuses a missing unit outside of the case's range: a mistyped code would exclude a good unit in another box."""
    if any(not start.sequence_number <= number <= end.sequence_number for number in missing):
        detail = f"A missing unit is not between {start.code} and {end.code}: correct missing_codes."
        ends = {"first_code": start.code, "last_code": end.code}
        raise invalid_field("/missing_codes", detail, FieldCode.OUTSIDE_CASE, **ends)


def _box_reaches_further(takable: Sequence[QueueRow], end: QueueRow, last: ScannedUnit, *, is_read: bool) -> CountDrift:
    """Builds the refusal of a box that ends after the run. The drift is the number of units from the run's end to
    `last`. If all of them are in the queue, as many of `codes` are not in the box. If not `is_read`, `last` is in the
    queue, behind the rows that were read.
    """
    through = [row for row in takable if row.sequence_number <= last.sequence_number]
    beyond = sum(row.sequence_number > end.sequence_number for row in through)
    codes = [row.code for row in through]
    cause = DriftCause.UNIT_MISSING
    advice = "check which of these codes is not in the box, then pack again and name it in missing_codes."
    if through[-1].sequence_number != last.sequence_number:
        beyond += 1
        codes.append(last.code)
        cause = DriftCause.LAST_NOT_QUEUED
        advice = f"{last.code} is {last.state} and not in the queue: take it out of the box and fill the box up."
    if not is_read:
        cause = DriftCause.WRONG_END
        advice = "that is too far to be this box. Scan its first and its last unit again."
    return CountDrift(
        f"The case should end at {end.code}, but {last.code} was scanned, {beyond} further on: {advice}",
        cause=cause,
        expected_code=end.code,
        scanned_code=last.code,
        drift=beyond,
        codes=codes,
    )


def _box_ends_early(rows: Sequence[QueueRow], last: ScannedUnit, not_queued: Sequence[str]) -> CountDrift:
    """Builds the refusal of a box that ends before the run. The drift is minus the number of units of the run after
    `last`, which are not in the box.
    """
    end, short = rows[-1], sum(row.sequence_number > last.sequence_number for row in rows)
    if short == len(rows):
        cause = DriftCause.WRONG_START
        advice = f"the case starts at {rows[0].code}: scan its first and its last unit again."
    elif not_queued:
        cause = DriftCause.UNIT_NOT_QUEUED
        advice = (
            "check which of these codes is in the box although it may not be packed, take it out and fill the box up."
        )
    else:
        cause = DriftCause.TOO_FEW_UNITS
        advice = "count the box, fill it up and scan its last unit again."
    return CountDrift(
        f"The case should end at {end.code}, but {last.code} was scanned, {short} before it: {advice}",
        cause=cause,
        expected_code=end.code,
        scanned_code=last.code,
        drift=-short,
        codes=not_queued,
    )
