"""Metrics that this process counts. routers/metrics.py adds gauges from the database to each scrape."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Histogram

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# The buckets reach from a scan (milliseconds) to a batch of a million codes (minutes).
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

REQUESTS: Final = Histogram(
    "qrtrack_http_request_seconds",
    "Time from the end of a request's headers to the last byte of its answer",
    ["method", "route", "status"],
    buckets=SECONDS[:11],
)
WAITED: Final = Histogram(
    "qrtrack_work_wait_seconds",
    "How long a piece of work had been due when a worker took it; of a group, the one that had waited longest",
    ["kind"],
    buckets=SECONDS,
)
RAN: Final = Histogram(
    "qrtrack_work_run_seconds", "How long the work on a piece or a group took", ["kind"], buckets=SECONDS
)
ENDED: Final = Counter(
    "qrtrack_work_ended", "Pieces of work by how they ended; each retry counts again", ["kind", "end"]
)
TAKEN_OVER: Final = Counter(
    "qrtrack_leases_taken_over", "Expired leases of pieces and groups of work that another worker took over", ["kind"]
)
LOST_WRITES: Final = Counter(
    "qrtrack_lost_lease_writes",
    "Writes that were refused because another worker has the work, or it was cancelled",
    ["kind"],
)
LINKS: Final = Counter("qrtrack_links", "Requests that put codes into a case, by source of the codes", ["source"])
LINKED_CODES: Final = Counter("qrtrack_linked_codes", "Codes put into cases", ["source"])
CHECKED_BEFORE_PACKED: Final = Counter(
    "qrtrack_checked_before_packed", "Units that left the queue because a consumer had checked them"
)
PRINTS: Final = Counter("qrtrack_prints", "Print jobs that ended, by their status", ["outcome"])
DISPATCHES: Final = Counter("qrtrack_dispatch_outcomes", "Attempts to send a settlement, by their outcome", ["outcome"])


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Records a request. `route` is a template. Unknown methods share one series and statuses are grouped, so callers
    cannot create series.
    """
    known = method if method in METHODS else "other"
    REQUESTS.labels(known, route, f"{status // 100}xx").observe(seconds)


def count_claims(kind: str, waits: Iterable[float | None]) -> None:
    """Counts the claims. `waits` has for each claimed piece how long it had been due, or None if its expired lease was
    taken over.
    """
    claimed = list(waits)
    if due := [waited for waited in claimed if waited is not None]:
        WAITED.labels(kind).observe(max(0, *due))
    count_taken_over(kind, len(claimed) - len(due))


def count_taken_over(kind: str, leases: int) -> None:
    if leases:
        TAKEN_OVER.labels(kind).inc(leases)


def count_lost_write(kind: str) -> None:
    LOST_WRITES.labels(kind).inc()


def count_end(kind: str, end: str, seconds: float, *, pieces: int = 1) -> None:
    ENDED.labels(kind, end).inc(pieces)
    RAN.labels(kind).observe(seconds)


def count_link(source: str, codes: int) -> None:
    LINKS.labels(source).inc()
    LINKED_CODES.labels(source).inc(codes)
