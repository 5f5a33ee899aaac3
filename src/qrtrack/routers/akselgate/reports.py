"""The report of a day's dispatches over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from qrtrack.domain.errors import NotFound
from qrtrack.routers.akselgate.callers import Finance
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState
from qrtrack.routers.problems import problems
from qrtrack.schemas.akselgate.reports import ReportAnswer, ReportQuery
from qrtrack.services.akselgate.reports import report_day

router = APIRouter(route_class=StrictRoute, tags=["settlement dispatch"])


@router.get(
    "/api/akselgate/report",
    response_model=ReportAnswer,
    summary="Report a day's dispatches",
    responses=problems(NotFound),
)
async def get_report(runtime: RuntimeState, caller: Finance, query: Annotated[ReportQuery, Query()]) -> Any:
    """Reports a day's dispatches by settlement. The day begins at midnight in REPORT_TIMEZONE."""
    return await report_day(runtime.database, caller=caller, day=query.date, timezone=runtime.settings.report_timezone)
