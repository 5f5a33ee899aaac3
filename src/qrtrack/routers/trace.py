"""Looking back over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path

from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import Packer, RuntimeState
from qrtrack.routers.problems import refusals
from qrtrack.schemas.base import Name
from qrtrack.schemas.trace import TraceAnswer
from qrtrack.services import trace as use_cases

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer", tags=["trace"])


@router.get(
    "/trace/{code}",
    response_model=TraceAnswer,
    summary="Trace a code or a case",
    responses=refusals({404: "`not-found`: your organisation has neither such a code nor such a case."}),
)
async def trace_code(
    code: Annotated[Name, Path(description="The code of a unit, or a master code.", examples=["SKA000001"])],
    caller: Packer,
    runtime: RuntimeState,
) -> use_cases.Trace:
    """From a unit up to its case, batch and order; from a master code down to its units; with all that happened."""
    return await use_cases.trace_code(runtime.database, caller=caller, code=code.upper() if code.isascii() else code)
