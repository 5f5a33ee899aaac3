"""Limits on guessing root keys: how many failures, and how long the waits are."""

from datetime import datetime
from typing import Final

from qrtrack.domain.errors import Throttled
from qrtrack.domain.instants import rfc3339

FAILURES_OF_CODE: Final = 5
"""Then 1, 2, 4 … 60 minutes of waiting after each further failure. A day without failures starts anew."""
LONGEST_WAIT_MINUTES: Final = 60
FAILURES_OF_NETWORK: Final = 60
"""An hour, for an IPv4 address or an IPv6 /64."""
FAILURES_OF_WIDE_NETWORK: Final = 600
"""An hour, for an IPv6 /48."""
FAILURES_OF_BATCH: Final = 1000
"""A day. Then networks that failed on the batch wait, and others go on."""
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
