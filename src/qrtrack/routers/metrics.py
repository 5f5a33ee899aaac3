"""Metrics for Prometheus: counters of this process, and gauges from the database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from qrtrack.domain.accurate.documents import TYPES
from qrtrack.domain.akselgate.attempts import AttemptOutcome
from qrtrack.domain.labels.print_jobs import PrintStatus
from qrtrack.metrics import DISPATCHES, ENDED, LOST_WRITES, PRINTS, TAKEN_OVER
from qrtrack.repositories.gauges import QueueDepth
from qrtrack.repositories.queues import QUEUES
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState, is_watcher
from qrtrack.services.accurate.sources import Silence
from qrtrack.services.gauges import Gauges
from qrtrack.services.recalculation import KINDS
from qrtrack.worker.execution import End

router = APIRouter(route_class=StrictRoute, tags=["health"])

OTHER_TYPE: Final = "other"
QUEUE_GAUGES: Final[Sequence[tuple[str, str, Callable[[QueueDepth], float | None]]]] = (
    ("queue_depth", "Pieces of work that wait, including those that are due later", lambda queue: queue.queued),
    ("queue_running", "Pieces of work that a worker holds", lambda queue: queue.running),
    ("queue_expired_leases", "Pieces of work whose worker has stopped answering", lambda queue: queue.expired_leases),
    ("queue_oldest_seconds", "How long the oldest piece of work has been due", lambda queue: queue.oldest_seconds),
)
TOTALS: Final[Sequence[tuple[str, str, Callable[[Gauges], float | None]]]] = (
    ("workers_alive", "Processes with a worker loop that is alive", lambda gauges: gauges.workers_alive),
    (
        "dispatches_unknown",
        "Attempts to pay with an unknown outcome; their settlements are frozen",
        lambda gauges: gauges.unknown_dispatches,
    ),
    (
        "printers_away",
        "Label printers whose next label has waited for minutes: not reached, or not ready",
        lambda gauges: gauges.printers_away,
    ),
    (
        "verification_reports_of_day",
        "Reports of consumers in the last 24 hours",
        lambda gauges: gauges.verification_reports,
    ),
    (
        "webhooks_unassigned",
        "Events that name no database, or one that ACCURATE_DATABASES does not list",
        lambda gauges: gauges.accurate.unassigned_events,
    ),
    ("webhooks_dead", "Events that failed their last attempt (dead)", lambda gauges: gauges.accurate.dead),
    ("webhooks_to_pass_on", "Events that wait for ACCURATE_FORWARD_URL", lambda gauges: gauges.accurate.to_pass_on),
    (
        "webhook_subscription_days",
        "Days until Accurate stops sending, if this service renews the subscription",
        lambda gauges: gauges.accurate.subscription_days_left,
    ),
    (
        "webhook_renewal_failures",
        "Failed renewals of the subscription since the beginning",
        lambda gauges: gauges.accurate.renewal_failures,
    ),
)
COUNTS_BY_KIND: Final[Sequence[tuple[str, str, Callable[[Gauges], Mapping[str, int]]]]] = (
    (
        "dispatch_alarms",
        "Events of attempts in the last 24 hours that a person must look at",
        lambda gauges: gauges.alarming_dispatch_events,
    ),
    (
        "verification_alerts_of_day",
        "Alerts of public verification in the last 24 hours: once a day for each kind and unit or batch",
        lambda gauges: gauges.verification_alerts,
    ),
)

# Series start at 0: if a series begins with its first event, Prometheus' increase() misses that event.
for kind in (queue.kind for queue in QUEUES):
    TAKEN_OVER.labels(kind)
    LOST_WRITES.labels(kind)
    for end in End:
        ENDED.labels(kind, end)
for outcome in set(AttemptOutcome) - {AttemptOutcome.SENDING}:
    DISPATCHES.labels(outcome)
for printed in (PrintStatus.COMPLETED, PrintStatus.UNKNOWN, PrintStatus.FAILED):
    PRINTS.labels(printed)


@router.get("/metrics", response_class=PlainTextResponse, summary="Read the metrics")
async def read_metrics(request: Request, runtime: RuntimeState) -> PlainTextResponse:
    """Counters of this process, and gauges from the database. The gauges are the same in every process, so sum the
    counters and take the maximum of the gauges. Only `qrtrack_database_up` and `qrtrack_database_pool_connections` are
    gauges of each process. No metric names an organisation. Callers with `METRICS_TOKEN` or a
    machine secret (`Authorization: Bearer …`) see Accurate's databases and types; others see totals. Do not publish
    this path: see docs/monitoring.md.
    """
    gauges = await runtime.gauges.latest()
    shared = CollectorRegistry(auto_describe=False)
    shared.register(_Gauges(gauges, runtime.database.pool_use(), in_full=await is_watcher(request)))
    return PlainTextResponse(generate_latest(REGISTRY) + generate_latest(shared), media_type=CONTENT_TYPE_LATEST)


class _Gauges(Collector):
    """The gauges of one scrape. If the database is away, their names appear without values, so that alerts can detect
    it.
    """

    def __init__(self, gauges: Gauges | None, pools: Mapping[str, Mapping[str, int]], *, in_full: bool = False) -> None:
        self._gauges = gauges
        self._in_full = in_full
        self._pools = pools

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        gauges = self._gauges
        yield _gauge(
            "database_up", "Whether the database delivered the gauges of this scrape", value=gauges is not None
        )
        yield _gauge(
            "database_pool_connections",
            "Connections of this process: in use, idle, and how many it may have",
            ["pool", "state"],
            [([pool, state], count) for pool, use in self._pools.items() for state, count in use.items()],
        )
        yield from _of_queues(gauges.queues if gauges else ())
        for name, help_text, total in TOTALS:
            yield _gauge(name, help_text, value=total(gauges) if gauges else None)
        for name, help_text, counts in COUNTS_BY_KIND:
            by_kind = counts(gauges) if gauges else {}
            yield _gauge(name, help_text, ["kind"], [([kind], count) for kind, count in by_kind.items()])
        yield _repairs(gauges.count_repairs if gauges else None)
        yield _gauge(
            "webhook_silence_seconds",
            "Time since the last event of one of Accurate's databases and types",
            ["database_id", "type"],
            _silences(gauges.accurate.sources if gauges else (), in_full=self._in_full),
        )


def _repairs(repairs: Mapping[str, int] | None) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "qrtrack_count_drifts",
        "Wrong counters that a recalculation has ever repaired: each means a defect",
        labels=["kind"],
    )
    if repairs is not None:
        for kind in (each.countable.kind for each in KINDS):
            family.add_metric([kind], repairs.get(kind, 0))
    return family


def _of_queues(queues: Sequence[QueueDepth]) -> Iterator[GaugeMetricFamily]:
    for name, help_text, value in QUEUE_GAUGES:
        yield _gauge(name, help_text, ["kind"], [([queue.kind], value(queue) or 0) for queue in queues])


def _silences(sources: Iterable[Silence], *, in_full: bool) -> list[tuple[list[str], float]]:
    """Returns the silence of each database and type. Senders choose types freely, so unknown types share one series for
    each database, with the silence of the latest one. Without `in_full`, all share one series without labels.
    """
    silences: dict[tuple[str, str], float] = {}
    for source in sources:
        kind = source.type if source.type in TYPES else OTHER_TYPE
        labels = (str(source.database_id), kind) if in_full else ("", "")
        seconds = source.silent_seconds
        silences[labels] = min(seconds, silences.get(labels, seconds))
    return [([database_id, kind], seconds) for (database_id, kind), seconds in silences.items()]


def _gauge(
    name: str,
    help_text: str,
    labels: Sequence[str] = (),
    samples: Iterable[tuple[Sequence[str], float]] = (),
    *,
    value: float | None = None,
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"qrtrack_{name}", help_text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    if value is not None:
        family.add_metric([], value)
    return family
