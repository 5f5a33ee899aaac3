"""An attempt to send a settlement: its outcomes, its events, and the filter of lists."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class TransactionType(StrEnum):
    CA_ESCROW = "CA_ESCROW"
    ESCROW_BILLER_PL = "ESCROW_BILLER_PL"


class AttemptOutcome(StrEnum):
    """What is known of an attempt. `accepted` means that the bank took the batch; callbacks say what it paid."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


# These outcomes unlock the references of the attempt: another attempt may send them.
RELEASING: Final = frozenset({AttemptOutcome.REJECTED, AttemptOutcome.NOT_SENT})
# An administrator resolves an unknown attempt to one of these.
RESOLUTIONS: Final = RELEASING | {AttemptOutcome.ACCEPTED}


def shown_status(outcome: str, status_code: str | None) -> str | None:
    """None for an attempt that was not sent: the log has `unknown` there, as if a request had left."""
    return None if outcome == AttemptOutcome.NOT_SENT else status_code


def stale_after(deadline_seconds: float) -> float:
    """Seconds after which the sweeper calls a `sending` attempt unknown, and after which its sender sends no more.

    Both use this one limit: otherwise a sender that was suspended could send a batch after an administrator resolved
    it as not sent and somebody dispatched it again.
    """
    return 2 * deadline_seconds


class EventKind(StrEnum):
    """What happens to an attempt besides its answer. `resolved` and `closed` change the attempt; others are records.

    `doubted_refusal`: the gateway refused a batch that contains a reference which an earlier attempt may have paid.
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


# A person has to look at each event of these kinds.
ALARMING: Final = (
    EventKind.CONFLICT,
    EventKind.UNKNOWN_REFERENCE,
    EventKind.UNREADABLE_CALLBACK,
    EventKind.LATE_RESPONSE,
)


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts a list shows; None does not filter."""

    kd_settle: str | None
    transaction_type: TransactionType | None
    outcome: AttemptOutcome | None
    is_latest: int | None
