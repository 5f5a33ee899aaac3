"""Traces over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from qrtrack.domain.errors import NotFound
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import Packer, RuntimeState
from qrtrack.routers.problems import problems
from qrtrack.schemas.base import ScannedCode
from qrtrack.schemas.trace import TraceAnswer, TraceQuery
from qrtrack.services import trace as use_cases

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer", tags=["trace"])


@router.get(
    "/trace/{code}",
    summary="Trace a code or a case",
    responses=problems(NotFound),
)
async def trace_code(
    code: Annotated[ScannedCode, Path(description="The code of a unit, or a master code.", examples=["SKA000001"])],
    query: Annotated[TraceQuery, Query()],
    caller: Packer,
    runtime: RuntimeState,
) -> TraceAnswer:
    """Shows for the code of a unit its case, batch and order; for a master code its units. Both with all events, oldest
    first. `cursor` continues a long trace, its units and its events.
    """
    found = await use_cases.trace_code(
        runtime.database, caller=caller, code=code, after=query.after(), limit=query.one_more
    )
    return TraceAnswer.of(found, query)
