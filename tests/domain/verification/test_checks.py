from datetime import date
from itertools import product

import pytest

from qrtrack.domain.verification.alerts import AlertKind
from qrtrack.domain.verification.checks import COUNTED, Result, UnitState, alerts_of, decide, is_new_look

TODAY = date(2026, 11, 26)


def test_a_recall_outranks_void_void_outranks_not_released_and_that_outranks_all_checks() -> None:
    for recalled, void, released, redeemed, checked in product((False, True), repeat=5):
        for same_look in (None, *Result):
            unit = UnitState(recalled, void, released, redeemed, checked, same_look)
            first = {
                Result.RECALLED: recalled, Result.VOID: void, Result.NOT_RELEASED: not released,
            }  # fmt: skip
            outranking = next((result for result, holds in first.items() if holds), None)
            result = decide(unit)
            assert result == outranking if outranking else result in COUNTED
            if outranking is None and redeemed:
                assert result is Result.GENUINE_SEEN_BEFORE


@pytest.mark.parametrize(
    ("is_checked", "same_look", "result"),
    [
        (False, None, Result.GENUINE),
        (True, None, Result.GENUINE_SEEN_BEFORE),
        (True, Result.GENUINE, Result.GENUINE),
        (True, Result.GENUINE_SEEN_BEFORE, Result.GENUINE_SEEN_BEFORE),
        (False, Result.NOT_RELEASED, Result.GENUINE),
        (True, Result.RECALLED, Result.GENUINE_SEEN_BEFORE),
    ],
)
def test_the_answer_stays_within_one_look(is_checked: bool, same_look: Result | None, result: Result) -> None:  # noqa: FBT001 - a column of the table
    unit = UnitState(
        is_recalled=False, is_void=False, is_released=True, is_redeemed=False, is_checked=is_checked,
        same_look=same_look,
    )  # fmt: skip
    assert decide(unit) is result


def test_a_look_is_recorded_once_and_another_result_is_recorded_too() -> None:
    assert is_new_look(Result.GENUINE, None)
    assert not is_new_look(Result.GENUINE, Result.GENUINE)
    assert not is_new_look(Result.GENUINE_SEEN_BEFORE, Result.GENUINE)
    assert not is_new_look(Result.VOID, Result.VOID)
    assert is_new_look(Result.RECALLED, Result.GENUINE)
    assert is_new_look(Result.GENUINE, Result.NOT_RELEASED)


def test_alerts_name_the_unit_but_expiry_is_of_the_batch() -> None:
    old = date(2026, 11, 25)
    assert alerts_of(Result.GENUINE, expires_on=TODAY, today=TODAY, networks=4) == []
    assert alerts_of(Result.GENUINE, expires_on=old, today=TODAY, networks=5) == [
        (AlertKind.MANY_NETWORKS, True), (AlertKind.EXPIRED, False),
    ]  # fmt: skip
    for result in (Result.VOID, Result.RECALLED, Result.NOT_RELEASED):
        assert alerts_of(result, expires_on=None, today=TODAY, networks=1) == [(AlertKind(result), True)]
