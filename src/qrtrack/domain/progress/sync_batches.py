"""Fan-outs of other systems: their states, the outcomes of their records, and the refusals."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qrtrack.domain.errors import Conflict, InvalidState


class SyncStatus(StrEnum):
    """Where a fan-out of another system stands. `failed`: every single record failed."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_SYNCS = frozenset({SyncStatus.COMPLETED, SyncStatus.FAILED, SyncStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one record of a fan-out ended. `key` names it within its batch."""

    key: str
    success: bool
    error: str | None = None


class SurplusRecords(Conflict):
    """More records were reported than announced: a wrong total, or a key that is not the record's own."""

    slug = "surplus-records"
    title = "More records than announced"

    def __init__(self, *, total: int, processed: int, new_keys: Sequence[str]) -> None:
        surplus = max(processed + len(new_keys) - total, 1)
        super().__init__(
            f"{surplus} records are more than the {total} that were announced: nothing of this request was counted. "
            f"{processed} have been counted before. Compare the keys with what was to be sent.",
            total_records=total,
            processed_records=processed,
            surplus=surplus,
            keys=list(new_keys[-surplus:]),
        )


class SyncCancelled(InvalidState):
    """The progress batch was cancelled: stop sending its records."""

    slug = "progress-cancelled"
    title = "The batch was cancelled"

    def __init__(self) -> None:
        super().__init__(
            "This batch was cancelled: nothing of this request was counted. Stop sending its records.",
            state=SyncStatus.CANCELLED,
        )
