"""Batches: the list, ordering one, and one batch with what can be done with it."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer
from qrtrack.console.views.batch_data import progress_of, sale_of
from qrtrack.console.views.packing import span
from qrtrack.domain.identity import Permission
from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.schemas.base import ONE_LINE
from qrtrack.services.packing.batches import find_batch, list_batches

router = APIRouter(route_class=ConsoleRoute, prefix="/console/batches", include_in_schema=False)

PAGE: Final = 50


@router.get("")
async def show_batches(
    visitor: Packer,
    name: Annotated[str, Query(max_length=200, pattern=ONE_LINE)] = "",
    state: Literal["", "open", "closed"] = "",
    before: Annotated[UUID | None, Query()] = None,
) -> Response:
    selection = BatchSelection(product_name=name.strip() or None, closed=state == "closed" if state else None)
    batches = await list_batches(
        visitor.database, caller=visitor.caller, selection=selection, before=before, limit=PAGE + 1
    )
    more = batches[PAGE - 1].batch.id if len(batches) > PAGE else None
    return visitor.page(
        "batches.html", ("order",), batches=batches[:PAGE], name=name, state=state, more=more, before=before, span=span,
        requires_release=visitor.runtime.settings.verify_requires_release, channels=visitor.runtime.messenger.channels,
        may_manage=visitor.may(Permission.MANAGE_BATCHES),
    )  # fmt: skip


@router.get("/{batch_id}")
async def show_batch(visitor: Packer, batch_id: UUID) -> Response:
    found = await _batch(visitor, batch_id)
    return visitor.page("batch.html", **found, **await sale_of(visitor, found["batch"]))


@router.get("/{batch_id}/now")
async def show_batch_now(visitor: Packer, batch_id: UUID) -> Response:
    return visitor.page("batch_now.html", **await _batch(visitor, batch_id))


async def _batch(visitor: Packer, batch_id: UUID) -> dict[str, Any]:
    listed = await find_batch(visitor.database, caller=visitor.caller, batch_id=batch_id)
    return {
        "listed": listed,
        "batch": listed.batch,
        "span": span(listed.batch),
        "may_manage": visitor.may(Permission.MANAGE_BATCHES),
        **await progress_of(visitor, listed.batch),
    }
