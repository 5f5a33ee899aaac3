"""Liveness and readiness."""

from typing import Any

import structlog
from fastapi import APIRouter, Request

from qrtrack.postgresql.database_checks import DatabaseUnfit
from qrtrack.postgresql.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.postgresql.schema_revision import SchemaBehind, SchemaNewer
from qrtrack.postgresql.tenant_role import TenantRoleUnusable
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState, is_watcher
from qrtrack.routers.problems import problems
from qrtrack.runtime import Runtime
from qrtrack.schemas.health import AccurateFigures, AccurateTotals, LivenessAnswer, ReadinessAnswer

log = structlog.get_logger(__name__)
router = APIRouter(route_class=StrictRoute, tags=["health"])


# Some monitors use HEAD.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Ask whether the process is alive")
async def check_liveness() -> LivenessAnswer:
    """Answers as long as the process runs. Checks nothing else."""
    return LivenessAnswer()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=ReadinessAnswer,
    summary="Ask whether the process can serve",
    responses=problems(
        DatabaseUnavailable, DatabaseRefused, DatabaseUnfit, SchemaBehind, SchemaNewer, TenantRoleUnusable
    ),
)
async def check_readiness(request: Request, runtime: RuntimeState) -> dict[str, Any]:
    """Answers 503 if the database does not answer, cannot be used, or has another schema than this version needs.
    Nothing else takes a process out of service. The details are for people; they are null if they could not be read in
    time. Callers with `METRICS_TOKEN` or a machine secret (`Authorization: Bearer …`) see Accurate's databases and
    types; others see totals.
    """
    await _check_database(request, runtime)
    gauges, silent = await runtime.gauges.at_hand(), runtime.activity.silent_seconds
    shown = AccurateFigures if await is_watcher(request) else AccurateTotals
    return {
        "database": "ok",
        "schema": "ok",
        "loop_silent_seconds": silent and round(silent, 1),
        "workers_alive": gauges and gauges.workers_alive,
        "oldest_queued_seconds": gauges and {queue.kind: queue.oldest_seconds for queue in gauges.queues},
        "dispatches_unknown": gauges and gauges.unknown_dispatches,
        "accurate": gauges and shown.model_validate(gauges.accurate, from_attributes=True),
    }


async def _check_database(request: Request, runtime: Runtime) -> None:
    try:
        await runtime.database.ready()
    except (DatabaseUnfit, TenantRoleUnusable) as error:
        if await is_watcher(request):
            raise
        log.warning("the database cannot be used", reason=error.detail)
        # The reason names the database, its user and the tenant role, so not everybody may see it.
        raise type(error)("The database cannot be used as it is. The log of the service contains the reason.") from None
