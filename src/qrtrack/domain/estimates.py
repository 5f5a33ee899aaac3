"""Progress in percent, and the remaining time. Both are rounded so that they never promise too much."""

import math


def percentage(done: int, total: int) -> int:
    """Returns the done part in percent, rounded down: 100 means that everything is done. Returns 100 if there is
    nothing to do.
    """
    if done >= total:
        return 100
    return max(100 * done // total, 0)


def eta_seconds(done: int, total: int, elapsed_seconds: float) -> int | None:
    """Returns the remaining seconds at the rate so far, rounded up, or None until something is done."""
    if done >= total:
        return 0
    if done <= 0 or elapsed_seconds <= 0:
        return None
    return math.ceil(elapsed_seconds * (total - done) / done)
