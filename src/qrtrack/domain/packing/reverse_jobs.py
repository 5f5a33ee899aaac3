"""A new reverse job, the counts of a running one, and its progress in percent."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from qrtrack.domain.packing.code_lists import ListedScan

PROGRESS_COUNTED = 30
PROGRESS_PREPARED = 90
"""The progress after the last chunk. The transaction that completes the job sets 100."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A reverse job to be submitted. `scans` has the content of the scanned QR symbols of the excluded units."""

    batch_id: UUID
    order_id: UUID
    exclude_codes: Sequence[str] = ()
    scans: Sequence[ListedScan] = ()
    variant: str | None = None
    priority: int = 0


def job_progress(done: int, total: int) -> int:
    """Returns the progress of a job that has counted its codes: 30 + floor(60 x done / total), or 90 if there is
    nothing to do.
    """
    if total <= 0:
        return PROGRESS_PREPARED
    progress = PROGRESS_COUNTED + (PROGRESS_PREPARED - PROGRESS_COUNTED) * done // total
    return min(max(progress, PROGRESS_COUNTED), PROGRESS_PREPARED)


@dataclass(slots=True)
class JobCounts:
    """What a job has done with the sequence numbers before `next_sequence`. Only the worker with the lease changes
    it.
    """

    next_sequence: int
    prepared: int
    duplicates: int
    excluded: int

    @property
    def handled(self) -> int:
        return self.prepared + self.duplicates + self.excluded
