"""Progress and remaining time as people see them: rounded so that neither ever promises too much. Fan-outs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qrtrack.domain.errors import Conflict, InvalidState

PROGRESS_CLAIMED = 5
PROGRESS_COUNTED = 30
PROGRESS_LANDED = 90
"""Where a job stands when its last chunk has landed: 100 comes with `completed`, in that transaction."""


def job_progress(done: int, total: int) -> int:
    """A counted reverse job: 30 + floor(60 x done / total), within 30 and 90; one with nothing to do has landed."""
    if total <= 0:
        return PROGRESS_LANDED
    landed = PROGRESS_COUNTED + (PROGRESS_LANDED - PROGRESS_COUNTED) * done // total
    return min(max(landed, PROGRESS_COUNTED), PROGRESS_LANDED)


def percentage(done: int, total: int) -> int:
    """Rounded down, so that 100 means all of it; nothing to do is all done."""
    if done >= total:
        return 100
    return max(100 * done // total, 0)


def eta_seconds(done: int, total: int, elapsed_seconds: float) -> int | None:
    """Rounded up, at the pace so far; None until something is done that shows a pace."""
    if done >= total:
        return 0
    if done <= 0 or elapsed_seconds <= 0:
        return None
    return math.ceil(elapsed_seconds * (total - done) / done)


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
