"""An attempt to send a settlement: its outcomes, its events, and the filter of lists."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class TransactionType(StrEnum):
    CA_ESCROW = "CA_ESCROW"
    ESCROW_BILLER_PL = "ESCROW_BILLER_PL"


class AttemptOutcome(StrEnum):
    """The outcome of an attempt, as far as it is known. `accepted` means that the bank took the batch; callbacks report
    later what it paid.
    """

    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


# Attempts with these outcomes do not lock their references: another attempt may send them.
RELEASING: Final = frozenset({AttemptOutcome.REJECTED, AttemptOutcome.NOT_SENT})
# An administrator resolves an unknown attempt to one of these.
RESOLUTIONS: Final = RELEASING | {AttemptOutcome.ACCEPTED}


def shown_status(outcome: str, status_code: str | None) -> str | None:
    """Returns the status code to show; None for an attempt that was not sent. The log stores `unknown` for it, as if a
    request had been sent.
    """
    return None if outcome == AttemptOutcome.NOT_SENT else status_code


def stale_after(deadline_seconds: float) -> float:
    """Returns the seconds after which the sweeper sets a `sending` attempt to unknown, and after which its sender no
    longer sends.

    Both use this one limit. Otherwise this could happen: a sender is suspended, an administrator resolves its attempt
    as not sent, somebody dispatches again, and the first sender resumes and sends the batch a second time.
    """
    return 2 * deadline_seconds


class EventKind(StrEnum):
    """The events of an attempt besides its answer. `resolved` and `closed` change the attempt: triggers apply them. The
    others only record what happened.

    `doubted_refusal`: the gateway refused a batch with a reference that an earlier attempt may have paid.
    """

    CALLBACK = "callback"
    UNKNOWN_REFERENCE = "unknown_reference"
    UNREADABLE_CALLBACK = "unreadable_callback"
    CONFLICT = "conflict"
    LATE_RESPONSE = "late_response"
    DOUBTED_REFUSAL = "doubted_refusal"
    SWEPT = "swept"
    RESOLVED = "resolved"
    CLOSED = "closed"


# A person must look at each event of these kinds.
ALARMING: Final = (
    EventKind.CONFLICT,
    EventKind.UNKNOWN_REFERENCE,
    EventKind.UNREADABLE_CALLBACK,
    EventKind.LATE_RESPONSE,
)


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts a list shows. A field that is None does not filter."""

    kd_settle: str | None
    transaction_type: TransactionType | None
    outcome: AttemptOutcome | None
    is_latest: int | None
