"""Whether the process lives and whether it can serve."""

from typing import Any

import structlog
from fastapi import APIRouter, Request

from qrtrack.database_checks import DatabaseUnfit
from qrtrack.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState, is_watcher
from qrtrack.routers.problems import problems
from qrtrack.runtime import Runtime
from qrtrack.schema_revision import SchemaBehind, SchemaNewer
from qrtrack.schemas.health import LivenessAnswer, ReadinessAnswer
from qrtrack.services.accurate.sources import totals_of
from qrtrack.tenant_role import TenantRoleUnusable

log = structlog.get_logger(__name__)
router = APIRouter(route_class=StrictRoute, tags=["health"])


# Some watchers ask with HEAD: the answer is the same, without its body.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Ask whether the process is alive")
async def check_liveness() -> LivenessAnswer:
    """The process answers; nothing else is asked."""
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
    """503 when the database does not answer or has another schema than this version needs; nothing else takes a
    process out of service. The rest is for people, and null where it could not be read in time. Accurate's databases
    and types are named to callers with `METRICS_TOKEN` or a machine secret (`Authorization: Bearer …`); others see
    totals.
    """
    checked = await _ready(request, runtime)
    figures, silent = await runtime.figures.at_hand(), runtime.pulse.silent_seconds
    accurate = figures and (figures.accurate if await is_watcher(request) else totals_of(figures.accurate))
    return {
        **checked,
        "loop_silent_seconds": silent and round(silent, 1),
        "workers_alive": figures and figures.workers_alive,
        "oldest_queued_seconds": figures and {queue.kind: queue.oldest_seconds for queue in figures.queues},
        "dispatches_unknown": figures and figures.unknown_dispatches,
        "accurate": accurate,
    }


async def _ready(request: Request, runtime: Runtime) -> dict[str, Any]:
    try:
        return await runtime.database.ready()
    except (DatabaseUnfit, TenantRoleUnusable) as error:
        if await is_watcher(request):
            raise
        log.warning("the database cannot be used", reason=error.detail)
        # The reason names the database, its user and the role of requests.
        raise type(error)("The database cannot be used as it is. The log of the service has the reason.") from None
