"""The checks, reports and alerts of a batch over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from qrtrack.domain.errors import NotFound
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import Packer, RuntimeState
from qrtrack.routers.problems import problems
from qrtrack.schemas.verification.records import RECORD_PAGE, AlertPage, CheckPage, RecordFilter, RecordPage, ReportPage
from qrtrack.services.verification.records import list_records

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/batches/{batch_id}", tags=["recalls"])


@router.get(
    "/verifications",
    response_model=RecordPage,
    summary="List the checks, reports and alerts of a batch",
    responses=problems(NotFound),
)
async def list_verifications(
    batch_id: UUID, query: Annotated[RecordFilter, Query()], caller: Packer, runtime: RuntimeState
) -> CheckPage | ReportPage | AlertPage:
    """Lists the checks with the right root key, by consumers and by the plant, newest first. `?show=reports` lists the
    reports of consumers, `?show=alerts` the alerts. The service does not store who checked: it keeps no network
    address.
    """
    rows = await list_records(
        runtime.database,
        caller=caller,
        batch_id=batch_id,
        show=query.show,
        before=query.before_number(),
        limit=query.one_more,
    )
    return RECORD_PAGE.validate_python(
        {"show": query.show} | query.page(query.show, rows, lambda row: row.id), from_attributes=True
    )
