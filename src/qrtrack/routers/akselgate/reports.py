"""The report of a day's dispatches over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from qrtrack.domain.errors import NotFound
from qrtrack.routers.akselgate.callers import Finance
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState
from qrtrack.routers.downloads import XLSX, Downloads, sends
from qrtrack.routers.problems import problems
from qrtrack.schemas.akselgate.reports import ReportAnswer, ReportQuery
from qrtrack.services.akselgate.reports import DayReport, export_report, report_day

router = APIRouter(route_class=StrictRoute, tags=["settlement dispatch"])


@router.get(
    "/api/akselgate/report",
    response_model=ReportAnswer,
    summary="Report a day's dispatches",
    responses=problems(NotFound),
)
async def get_report(runtime: RuntimeState, caller: Finance, query: Annotated[ReportQuery, Query()]) -> DayReport:
    """Reports a day's dispatches by settlement. The day begins at midnight in REPORT_TIMEZONE."""
    return await report_day(runtime.database, caller=caller, day=query.date, timezone=runtime.settings.report_timezone)


@router.get("/api/akselgate/report.xlsx", summary="Export a day's dispatches as XLSX", **sends(XLSX, NotFound))
async def export_report_xlsx(
    runtime: RuntimeState, caller: Finance, query: Annotated[ReportQuery, Query()], downloads: Downloads
) -> StreamingResponse:
    """Exports the report as a workbook: one sheet has a row for each settlement and type, another one the totals.
    Amounts of up to 15 digits are numbers; longer ones are text, because spreadsheets would round them.
    """
    timezone = runtime.settings.report_timezone
    return await downloads.send(export_report, caller=caller, day=query.date, timezone=timezone)
