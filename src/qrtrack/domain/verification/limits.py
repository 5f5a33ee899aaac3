"""Limits on guessing root keys: how many failures, and how long the waits are."""

from datetime import datetime
from typing import Final

from qrtrack.domain.errors import Throttled
from qrtrack.domain.instants import rfc3339

FAILURES_OF_CODE: Final = 5
"""Failures of one code without a wait. Each further failure costs a wait of 1, 2, 4 … 60 minutes. After a day without a
failure, counting starts again at 0.
"""
LONGEST_WAIT_MINUTES: Final = 60
FAILURES_OF_NETWORK: Final = 60
"""Failures of one IPv4 address or IPv6 /64 within an hour."""
FAILURES_OF_WIDE_NETWORK: Final = 600
"""Failures of one IPv6 /48 within an hour."""
FAILURES_OF_BATCH: Final = 1000
"""Failures on one batch within a day. After that, only networks that failed on this batch must wait."""
ALARMING_FAILURES: Final = 100
"""Failures on a batch within a day that raise an alert."""


class TooManyFailures(Throttled):
    """Too many wrong keys were entered for this code, from this network or for this batch. A right key is refused as
    well until `retry_at`.
    """

    slug = "too-many-failures"
    title = "Too many wrong keys"

    def __init__(self, retry_at: datetime, seconds: float) -> None:
        super().__init__(
            f"Too many wrong keys were entered. Try again after {rfc3339(retry_at)}.",
            retry_at=retry_at,
            retry_after=max(seconds, 1.0),
        )
        self.retry_at = retry_at
