"""Progress and remaining time as people see them: rounded so that neither ever promises too much."""

import math

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
