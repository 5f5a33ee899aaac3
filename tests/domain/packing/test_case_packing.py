from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.errors import Conflict, InvalidInput
from qrtrack.domain.packing.case_packing import (
    CaseAlreadyPacked,
    CaseOfOtherBatch,
    CountDrift,
    DriftCause,
    FirstCodeNotPrepared,
    NotEnoughPrepared,
    OrderMismatch,
    QueueRow,
    Run,
    ScannedUnit,
    VariantMismatch,
    choose_run,
)
from qrtrack.domain.packing.numbering import serial
from qrtrack.domain.packing.states import Completeness


def code(number: int) -> str:
    return serial("PCK", number)


def queue(*numbers: int, stale: Sequence[int] = ()) -> list[QueueRow]:
    return [QueueRow(1000 + n, 2000 + n, n, code(n), packable=n not in stale) for n in numbers]


def scanned(number: int, state: str = "prepared") -> ScannedUnit:
    return ScannedUnit(number, code(number), state)


def numbers_of(rows: Sequence[QueueRow]) -> list[int]:
    return [row.sequence_number for row in rows]


def drift_of(*args: Sequence[QueueRow], **options: object) -> CountDrift:
    with pytest.raises(CountDrift) as caught:
        choose_run(*args, **options)  # type: ignore[arg-type]
    return caught.value


def test_a_case_takes_the_first_units_of_the_queue_in_serial_order() -> None:
    run = choose_run(queue(1, 2, 4, 5, 6), target=3)
    assert run == Run(tuple(queue(1, 2, 4)), (), Completeness.INFERRED)


def test_an_unpackable_code_is_stale_and_the_next_code_is_taken() -> None:
    run = choose_run(queue(1, 2, 3, 4, stale=[2]), target=3)
    assert numbers_of(run.rows) == [1, 3, 4]
    assert numbers_of(run.stale) == [2]


def test_stale_rows_after_the_case_are_left_alone() -> None:
    run = choose_run(queue(1, 2, 3, 4, stale=[1, 3]), target=1)
    assert numbers_of(run.rows) == [2]
    assert numbers_of(run.stale) == [1]


def test_too_few_prepared_units_are_refused_with_their_number() -> None:
    with pytest.raises(NotEnoughPrepared) as caught:
        choose_run(queue(1, 2, 3, stale=[2]), target=3)
    assert caught.value.members == {"available": 2}
    assert "2 of 3" in caught.value.detail


def test_a_partial_case_takes_all_prepared_units() -> None:
    assert numbers_of(choose_run(queue(1, 2), target=3, allow_partial=True).rows) == [1, 2]


def test_a_partial_case_needs_at_least_one_unit() -> None:
    with pytest.raises(NotEnoughPrepared) as caught:
        choose_run(queue(1, stale=[1]), target=3, allow_partial=True)
    assert caught.value.members == {"available": 0}


def test_a_partial_case_takes_at_most_its_target() -> None:
    assert numbers_of(choose_run(queue(1, 2, 3), target=2, allow_partial=True).rows) == [1, 2]


def test_the_first_unit_must_be_prepared() -> None:
    with pytest.raises(FirstCodeNotPrepared) as caught:
        choose_run(queue(3, 4), target=2, first=scanned(2, "void"))
    assert caught.value.members == {"state": "void"}


def test_the_first_unit_must_still_be_packable() -> None:
    with pytest.raises(FirstCodeNotPrepared):
        choose_run(queue(2, 3, 4, stale=[2]), target=2, first=scanned(2, "redeemed"))


def test_a_first_unit_is_not_prepared_if_the_queue_is_empty() -> None:
    with pytest.raises(FirstCodeNotPrepared):
        choose_run([], target=2, first=scanned(2, "packed"))


def test_a_case_with_both_check_scans_is_verified() -> None:
    assert choose_run(queue(1, 2), target=2, first=scanned(1), last=scanned(2)).completeness == Completeness.VERIFIED


def test_a_case_with_one_check_scan_is_inferred() -> None:
    assert choose_run(queue(1, 2), target=2, first=scanned(1)).completeness == Completeness.INFERRED
    assert choose_run(queue(1, 2), target=2, last=scanned(2)).completeness == Completeness.INFERRED


def test_a_last_unit_after_the_end_names_the_codes_that_may_be_missing() -> None:
    drift = drift_of(queue(1, 2, 3, 5, 6), target=3, last=scanned(5))
    assert drift.members == {
        "cause": DriftCause.UNIT_MISSING,
        "expected_code": code(3),
        "scanned_code": code(5),
        "drift": 1,
        "codes": [code(1), code(2), code(3), code(5)],
    }
    assert "missing_codes" in drift.detail


def test_a_last_unit_before_the_end_names_the_codes_that_are_not_queued() -> None:
    drift = drift_of(queue(1, 2, 4, 5), target=4, last=scanned(4), not_queued=[code(3)])
    assert drift.members == {
        "cause": DriftCause.UNIT_NOT_QUEUED,
        "expected_code": code(5),
        "scanned_code": code(4),
        "drift": -1,
        "codes": [code(3)],
    }
    assert "take it out" in drift.detail


def test_a_last_unit_before_the_end_asks_for_a_count_if_all_codes_are_queued() -> None:
    drift = drift_of(queue(1, 2, 3), target=3, last=scanned(2))
    assert drift.members["cause"] == DriftCause.TOO_FEW_UNITS
    assert "count the box" in drift.detail


def test_a_last_unit_before_the_run_asks_to_scan_again() -> None:
    drift = drift_of(queue(5, 6), target=2, first=scanned(5), last=scanned(4))
    assert (drift.members["cause"], drift.members["drift"]) == (DriftCause.WRONG_START, -2)
    assert "scan its first and its last unit again" in drift.detail


def test_a_last_unit_that_is_not_queued_is_named_with_its_state() -> None:
    drift = drift_of(queue(1, 2), target=2, last=scanned(3, "excluded"), not_queued=[code(3)])
    assert (drift.members["cause"], drift.members["drift"]) == (DriftCause.LAST_NOT_QUEUED, 1)
    assert drift.members["codes"] == [code(1), code(2), code(3)]
    assert f"{code(3)} is excluded" in drift.detail


def test_a_last_unit_far_behind_the_case_is_not_taken_out_of_the_box() -> None:
    """It waits in the queue, behind the rows that were read."""
    drift = drift_of(queue(1, 2, 3), target=2, last=scanned(900))
    assert (drift.members["cause"], drift.members["drift"]) == (DriftCause.WRONG_END, 2)
    assert drift.detail.endswith("Scan its first and its last unit again.")


def test_naming_the_missing_unit_packs_the_rest() -> None:
    run = choose_run(queue(1, 2, 3, 5, 6), target=3, first=scanned(1), last=scanned(5), missing={2})
    assert numbers_of(run.rows) == [1, 3, 5]
    assert run.stale == ()
    assert run.completeness == Completeness.VERIFIED


@pytest.mark.parametrize("unit", [1, 3])
def test_a_scanned_unit_cannot_be_missing(unit: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        choose_run(queue(1, 2, 3), target=2, first=scanned(1), last=scanned(3), missing={unit})
    assert [error.pointer for error in caught.value.errors] == ["/missing_codes"]


def test_the_refused_case_keeps_its_slug_and_says_what_to_do() -> None:
    info = {"master_code": "M-C0001", "actual_units": 100}
    packed = CaseAlreadyPacked(info)
    assert packed.slug == "case-already-packed"
    assert packed.members == {"master_code_info": info}
    assert CaseOfOtherBatch(master_code="M-C0001").slug == "case-of-other-batch"
    assert VariantMismatch(master_code="M-C0001", variant="10g").slug == "variant-mismatch"


def test_a_wrong_order_is_bad_input_and_the_rest_conflicts() -> None:
    assert issubclass(OrderMismatch, InvalidInput)
    assert OrderMismatch().errors[0].pointer == "/order_id"
    refusals = (
        NotEnoughPrepared,
        CountDrift,
        FirstCodeNotPrepared,
        CaseOfOtherBatch,
        CaseAlreadyPacked,
        VariantMismatch,
    )
    assert all(issubclass(refusal, Conflict) for refusal in refusals)


LARGEST_CASE = 8
TARGETS = st.integers(1, LARGEST_CASE)


@dataclass(frozen=True)
class Line:
    """A roll of labels 1…n: some units were excluded, some are stale by now, some are missing unknown to anyone."""

    excluded: frozenset[int]
    stale: frozenset[int]
    missing: frozenset[int]
    length: int

    @property
    def queue(self) -> list[QueueRow]:
        return queue(*(n for n in range(1, self.length + 1) if n not in self.excluded), stale=tuple(self.stale))

    @property
    def packable(self) -> list[int]:
        return [row.sequence_number for row in self.queue if row.packable]


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Their last units are good, enough of them to fill any case."""
    kinds = draw(st.lists(st.sampled_from(["good", "good", "good", "excluded", "stale", "missing"]), max_size=40))
    of = {kind: frozenset(n for n, k in enumerate(kinds, start=1) if k == kind) for kind in set(kinds)}
    nothing: frozenset[int] = frozenset()
    return Line(
        of.get("excluded", nothing), of.get("stale", nothing), of.get("missing", nothing), len(kinds) + LARGEST_CASE
    )


@given(lines(), TARGETS)
def test_case_by_case_every_packable_unit_is_packed_once_and_in_order(line: Line, target: int) -> None:
    waiting, packed, stale = line.queue, [], []
    while any(row.packable for row in waiting):
        run = choose_run(waiting, target=target, allow_partial=True)
        packed += numbers_of(run.rows)
        stale += numbers_of(run.stale)
        waiting = [row for row in waiting if row not in run.rows + run.stale]
    assert packed == line.packable
    assert stale + numbers_of(waiting) == sorted(line.stale)


@given(lines(), TARGETS)
def test_the_drift_counts_the_missing_units_and_naming_them_packs_just_what_is_in_the_box(
    line: Line, target: int
) -> None:
    box = [n for n in line.packable if n not in line.missing][:target]
    gone = {n for n in line.missing if box[0] < n < box[-1]}
    start = [row for row in line.queue if row.sequence_number >= box[0]]
    first, last = scanned(box[0]), scanned(box[-1])
    if gone:
        drift = drift_of(start, target=target, first=first, last=last)
        assert drift.members["drift"] == len(gone)
        assert gone < {int(named[3:]) for named in drift.members["codes"]}
    run = choose_run(start, target=target, first=first, last=last, missing=gone)
    assert numbers_of(run.rows) == box
    assert run.completeness == Completeness.VERIFIED


@given(lines(), TARGETS)
def test_the_drift_counts_the_units_of_the_box_that_are_not_queued(line: Line, target: int) -> None:
    box = [n for n in range(1, line.length + 1) if n not in line.stale][:target]
    strangers = [code(n) for n in sorted(line.excluded & set(box))]
    last = scanned(box[-1], "excluded" if box[-1] in line.excluded else "prepared")
    if strangers:
        drift = drift_of(line.queue, target=target, last=last, not_queued=strangers)
        assert (drift.members["drift"], drift.members["codes"]) == (-len(strangers), strangers)
    else:
        assert numbers_of(choose_run(line.queue, target=target, last=last).rows) == box


@given(lines(), TARGETS, st.integers(1, 40), st.integers(1, 40))
def test_any_scans_pack_only_a_full_run_from_first_to_last(line: Line, target: int, first: int, last: int) -> None:
    start = [row for row in line.queue if row.sequence_number >= first]
    expected = [n for n in line.packable if n >= first][:target]
    fits = len(expected) == target and expected[0] == first and expected[-1] == last
    try:
        run = choose_run(start, target=target, first=scanned(first), last=scanned(last))
    except Conflict:
        packed = []
    else:
        packed = numbers_of(run.rows)
    assert packed == (expected if fits else [])


@pytest.mark.parametrize("elsewhere", [3, 9])
def test_a_missing_unit_outside_the_run_is_refused(elsewhere: int) -> None:
    queue = [QueueRow(n, n, n, f"SKA{n:06d}", packable=True) for n in range(4, 11)]
    with pytest.raises(InvalidInput, match="A missing unit is not between SKA000004 and SKA000006"):
        choose_run(queue, target=3, missing=frozenset({elsewhere}))
