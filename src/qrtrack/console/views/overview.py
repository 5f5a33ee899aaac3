"""The overview: what runs, what waits, what was packed today, and what needs a person."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, SignedIn, Visitor
from qrtrack.domain.identity import Permission
from qrtrack.domain.packing.selections import BatchSelection, PackSelection
from qrtrack.services.overviews import read_overview

router = APIRouter(route_class=ConsoleRoute, prefix="/console", include_in_schema=False)

SHOWN: Final = 6


class Screen(BaseModel):
    """`wall` selects the layout for a screen on the wall."""

    wall: bool = False


Asked = Annotated[Screen, Query()]


@router.get("")
async def show_overview(visitor: SignedIn, screen: Asked) -> Response:
    return visitor.page("wall.html" if screen.wall else "overview.html", **await _state(visitor))


@router.get("/overview/now")
async def show_now(visitor: SignedIn, screen: Asked) -> Response:
    return visitor.page("wall_now.html" if screen.wall else "overview_now.html", **await _state(visitor))


async def _state(visitor: Visitor) -> dict[str, object]:
    settings, caller = visitor.runtime.settings, visitor.caller
    now = datetime.now(visitor.language.zone)
    owned = [number for number, owner in settings.database_owners.items() if owner == caller.organisation_id]
    overview = await read_overview(visitor.database, caller=caller, now=now, owned=owned)
    state: dict[str, object] = {
        "overview": overview, "now": now,
        "may_pack": visitor.may(Permission.PACK), "may_manage": visitor.may(Permission.MANAGE_BATCHES),
        "packs": [], "batches": [],
    }  # fmt: skip
    if visitor.may(Permission.PACK):
        async with visitor.read() as repositories:
            state["packs"] = await repositories.trace.list_packs(PackSelection(), before=None, limit=SHOWN)
            state["batches"] = await repositories.batch_lists.list(
                BatchSelection(closed=False), before=None, limit=SHOWN
            )
    return state
