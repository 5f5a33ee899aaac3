"""What Prometheus reads: what this process counted, and the figures that only the database knows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from qrtrack.domain.accurate.documents import TYPES
from qrtrack.domain.akselgate.dispatches import Outcome
from qrtrack.metrics import DISPATCHES, ENDED, LOST_WRITES, TAKEN_OVER
from qrtrack.repositories.queues import QUEUES
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState, is_watcher
from qrtrack.services.gauges import Figures
from qrtrack.services.recalculation import KINDS
from qrtrack.worker.execution import End

router = APIRouter(route_class=StrictRoute, tags=["health"])

OTHER_TYPE: Final = "other"

# A series that begins with its first event hides that event from whoever takes differences.
for kind in (queue.kind for queue in QUEUES):
    TAKEN_OVER.labels(kind)
    LOST_WRITES.labels(kind)
    for end in End:
        ENDED.labels(kind, end)
for outcome in set(Outcome) - {Outcome.SENDING}:
    DISPATCHES.labels(outcome)


@router.get("/metrics", response_class=PlainTextResponse, summary="Read the metrics")
async def read_metrics(request: Request, runtime: RuntimeState) -> PlainTextResponse:
    """Counters of this process, and gauges that every process answers alike because the database knows them: sum the
    former, take the maximum of the latter. Tells no organisation from another. Accurate's databases and types are named
    to callers with `METRICS_TOKEN` or a machine secret (`Authorization: Bearer …`); others see totals. Keep it from the
    outside all the same: see docs/monitoring.md.
    """
    figures = await runtime.figures.latest()
    gauges = CollectorRegistry(auto_describe=False)
    gauges.register(_Gauges(figures, runtime.database.pool_use(), in_full=await is_watcher(request)))
    return PlainTextResponse(generate_latest(REGISTRY) + generate_latest(gauges), media_type=CONTENT_TYPE_LATEST)


class _Gauges(Collector):
    """One scrape's gauges. Without figures their names stay and the values are absent, which an alert can tell."""

    def __init__(
        self, figures: Figures | None, pools: Mapping[str, Mapping[str, int]], *, in_full: bool = False
    ) -> None:
        self._figures = figures
        self._in_full = in_full
        self._pools = pools

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        yield _gauge(
            "database_up", "Whether the database gave the figures of this scrape", value=self._figures is not None
        )
        yield _gauge(
            "database_pool_connections",
            "Connections of this process: held by somebody, free, and how many it may have",
            ["pool", "state"],
            [([pool, state], count) for pool, use in self._pools.items() for state, count in use.items()],
        )
        yield from _of_queues(self._figures.queues if self._figures else ())
        yield _gauge(
            "workers_alive",
            "Processes whose loop looks for work",
            value=self._figures.workers_alive if self._figures else None,
        )
        yield _gauge(
            "dispatches_unknown",
            "Attempts to pay whose outcome nobody knows; their settlements are frozen",
            value=self._figures.unknown_dispatches if self._figures else None,
        )
        yield _gauge(
            "dispatch_alarms",
            "What the bank has reported in the last 24 hours that contradicts itself, or fits nothing",
            ["kind"],
            [
                ([kind], count)
                for kind, count in (self._figures.alarming_dispatch_events if self._figures else {}).items()
            ],
        )
        yield _repairs(self._figures.count_repairs if self._figures else None)
        yield from _of_webhooks(self._figures.accurate if self._figures else {}, in_full=self._in_full)


def _repairs(repairs: Mapping[str, int] | None) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "qrtrack_count_drifts",
        "Counters that a recalculation found wrong and repaired, ever: each is a defect",
        labels=["kind"],
    )
    if repairs is not None:
        for countable in KINDS:
            family.add_metric([countable.kind], repairs.get(countable.kind, 0))
    return family


def _of_queues(queues: Sequence[Any]) -> Iterator[GaugeMetricFamily]:
    for name, help_text, column in (
        ("queue_depth", "Pieces of work that wait, those for a later time too", "queued"),
        ("queue_running", "Pieces of work that a worker holds", "running"),
        ("queue_expired_leases", "Pieces of work whose worker has stopped answering", "expired_leases"),
        ("queue_oldest_seconds", "How long the oldest piece of work has been due", "oldest_seconds"),
    ):
        yield _gauge(name, help_text, ["kind"], [([queue.kind], getattr(queue, column) or 0) for queue in queues])


def _of_webhooks(accurate: Mapping[str, Any], *, in_full: bool) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "webhook_silence_seconds",
        "Time since the last event of one of Accurate's databases and types",
        ["database_id", "type"],
        _silences(accurate.get("sources", ()), in_full=in_full),
    )
    for name, help_text, value in (
        (
            "webhooks_unassigned",
            "Events of databases that belong to nobody: see ACCURATE_DATABASES",
            sum(source["events"] for source in accurate["unassigned"]) if accurate else None,
        ),
        ("webhooks_dead", "Events that were given up after all their attempts", accurate.get("dead")),
        ("webhooks_to_pass_on", "Events that wait for ACCURATE_FORWARD_URL", accurate.get("to_pass_on")),
        (
            "webhook_subscription_days",
            "Days until Accurate stops sending, where the subscription is renewed here",
            accurate.get("subscription_days_left"),
        ),
        (
            "webhook_renewal_failures",
            "Renewals of the subscription that failed, ever",
            accurate.get("renewal_failures"),
        ),
    ):
        yield _gauge(name, help_text, value=value)


def _silences(sources: Iterable[Mapping[str, Any]], *, in_full: bool) -> list[tuple[list[str], float]]:
    """A sender chooses its types: those that no handler knows are one series a database, the one heard last. Not in
    full, all are one series without labels.
    """
    silences: dict[tuple[str, str], float] = {}
    for source in sources:
        kind = source["type"] if source["type"] in TYPES else OTHER_TYPE
        labels = (str(source["database_id"]), kind) if in_full else ("", "")
        seconds = source["silent_seconds"]
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
