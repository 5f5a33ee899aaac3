"""Progress batches: their states, and the refusal of reports for a cancelled one."""

from enum import StrEnum
from typing import Final

from qrtrack.domain.errors import InvalidState


class SyncStatus(StrEnum):
    """The state of a progress batch. `failed` means that every record failed."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_SYNCS: Final = frozenset({SyncStatus.COMPLETED, SyncStatus.FAILED, SyncStatus.CANCELLED})


class SyncCancelled(InvalidState):
    """The progress batch was cancelled. Stop sending its records."""

    slug = "progress-cancelled"
    title = "The batch was cancelled"

    def __init__(self) -> None:
        super().__init__(
            "This batch was cancelled: nothing of this request was counted. Stop sending its records.",
            state=SyncStatus.CANCELLED,
        )
