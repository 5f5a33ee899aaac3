"""A check of one unit: its purpose, its results, and which result takes precedence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from qrtrack.domain.errors import Conflict
from qrtrack.domain.verification.alerts import AlertKind


class Purpose(StrEnum):
    """`qc`: a check by the plant's own staff. `check_count` leaves it out, and it never changes the state of a code."""

    CONSUMER = "consumer"
    QC = "qc"


class Result(StrEnum):
    GENUINE = "genuine"
    GENUINE_SEEN_BEFORE = "genuine_seen_before"
    NOT_RELEASED = "not_released"
    VOID = "void"
    RECALLED = "recalled"
    UNKNOWN = "unknown"


COUNTED = frozenset({Result.GENUINE, Result.GENUINE_SEEN_BEFORE})
"""`check_count` counts the consumers' checks with these results."""
ALERTING = {
    Result.NOT_RELEASED: AlertKind.NOT_RELEASED,
    Result.VOID: AlertKind.VOID,
    Result.RECALLED: AlertKind.RECALLED,
}
NETWORKS_ALARMING = 5
"""Checks of one code from this many networks within 24 hours raise an alert."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """The state of a unit whose key is proven, read while its row is locked. `same_look`: the result of the same
    browser's check within the last 30 minutes.
    """

    is_recalled: bool
    is_void: bool
    is_released: bool
    is_redeemed: bool
    is_checked: bool
    same_look: Result | None


def decide(unit: UnitState) -> Result:
    """Returns the result of a check. `recalled` takes precedence over all other results, because it is about safety."""
    if unit.is_recalled:
        return Result.RECALLED
    if unit.is_void:
        return Result.VOID
    if not unit.is_released:
        return Result.NOT_RELEASED
    if unit.is_redeemed:
        return Result.GENUINE_SEEN_BEFORE
    if unit.same_look in COUNTED:
        return unit.same_look
    return Result.GENUINE_SEEN_BEFORE if unit.is_checked else Result.GENUINE


def is_new_look(result: Result, same_look: Result | None) -> bool:
    """Returns whether the check must be recorded. A reload, the back button or a double press repeats the previous look
    and is not recorded.
    """
    return not (same_look == result or (same_look in COUNTED and result in COUNTED))


def alerts_of(
    result: Result, *, expires_on: date | None, today: date, networks: int
) -> Sequence[tuple[AlertKind, bool]]:
    """Returns the alerts that a consumer's check raises, and for each whether it names the unit. EXPIRED names no unit:
    it is raised once for the whole batch.
    """
    alerts: list[tuple[AlertKind, bool]] = []
    if result in ALERTING:
        alerts.append((ALERTING[result], True))
    if networks >= NETWORKS_ALARMING:
        alerts.append((AlertKind.MANY_NETWORKS, True))
    if expires_on is not None and expires_on < today:
        alerts.append((AlertKind.EXPIRED, False))
    return alerts


class NotRedeemable(Conflict):
    """The unit was redeemed before, is void, is recalled, or is not released yet."""

    slug = "not-redeemable"
    title = "The unit cannot be redeemed"


def refuse_redemption(result: Result, redeemed_at: datetime | None, day: date | None) -> None:
    """Raises NotRedeemable with `result`, and `redeemed_on` where the unit was redeemed before."""
    if result not in COUNTED:
        raise NotRedeemable(f"The unit is {SPOKEN[result]}: it cannot be redeemed.", result=result, redeemed_on=None)
    if redeemed_at is not None:
        raise NotRedeemable(f"The unit was redeemed on {day}: it can be redeemed once.", result=result, redeemed_on=day)


SPOKEN = {
    Result.NOT_RELEASED: "not released for sale yet",
    Result.VOID: "void",
    Result.RECALLED: "recalled",
}
