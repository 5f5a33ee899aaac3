"""Searching over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import Packer, RuntimeState
from qrtrack.schemas.searches import SearchAnswer, SearchQuery
from qrtrack.services import searches as use_cases

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer", tags=["search"])


@router.get("/search", summary="Find a unit, case, job or batch")
async def search_things(query: Annotated[SearchQuery, Query()], caller: Packer, runtime: RuntimeState) -> SearchAnswer:
    """Searches for a scanned or typed text; what a scanner adds to a code is removed. Returns at most 20 results of
    your organisation, best first. Without a result, `hint` says what can be searched.
    """
    return SearchAnswer.of(await use_cases.search(runtime.database, caller=caller, text=query.q))
