"""Limits on guessing root keys: how many failures, and how long the waits are."""

from datetime import datetime
from typing import Final

from qrtrack.domain.errors import Throttled
from qrtrack.domain.instants import rfc3339

FAILURES_OF_CODE: Final = 5
"""After this many failures of one code within 24 hours, the next check of the code must wait for a minute. Each further
failure doubles the wait, up to 60 minutes.
"""
LONGEST_WAIT_MINUTES: Final = 60
FAILURES_OF_NETWORK: Final = 60
"""After this many failures within an hour, an IPv4 address or IPv6 /64 must wait."""
FAILURES_OF_WIDE_NETWORK: Final = 600
"""After this many failures within an hour, an IPv6 /48 must wait."""
FAILURES_OF_BATCH: Final = 1000
"""After this many failures on one batch within a day, networks that have failed on this batch must wait. All others may
check.
"""
ALARMING_FAILURES: Final = 100
"""This many failures on one batch within a day raise an alert."""


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
