"""The progress of a reverse job, as people see it."""

PROGRESS_COUNTED = 30
PROGRESS_LANDED = 90
"""Where a job stands when its last chunk has landed: 100 comes with `completed`, in that transaction."""


def job_progress(done: int, total: int) -> int:
    """A counted reverse job: 30 + floor(60 x done / total), within 30 and 90; one with nothing to do has landed."""
    if total <= 0:
        return PROGRESS_LANDED
    landed = PROGRESS_COUNTED + (PROGRESS_LANDED - PROGRESS_COUNTED) * done // total
    return min(max(landed, PROGRESS_COUNTED), PROGRESS_LANDED)
