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
from qrtrack.repositories import Repositories
from qrtrack.schemas.base import ONE_LINE

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
    async with visitor.read() as repositories:
        batches = await repositories.batch_lists.list(selection, before=before, limit=PAGE + 1)
    more = batches[PAGE - 1].batch.id if len(batches) > PAGE else None
    return visitor.page(
        "batches.html", ("order",), batches=batches[:PAGE], name=name, state=state, more=more, before=before, span=span,
        requires_release=visitor.runtime.settings.verify_requires_release, channels=visitor.runtime.messenger.channels,
        may_manage=visitor.may(Permission.MANAGE_BATCHES),
    )  # fmt: skip


@router.get("/{batch_id}")
async def show_batch(visitor: Packer, batch_id: UUID) -> Response:
    async with visitor.read() as repositories:
        found = await _batch(visitor, repositories, batch_id)
        sale = await sale_of(repositories, found["batch"])
    return visitor.page("batch.html", **found, **sale)


@router.get("/{batch_id}/now")
async def show_batch_now(visitor: Packer, batch_id: UUID) -> Response:
    async with visitor.read() as repositories:
        found = await _batch(visitor, repositories, batch_id)
    return visitor.page("batch_now.html", **found)


async def _batch(visitor: Packer, repositories: Repositories, batch_id: UUID) -> dict[str, Any]:
    listed = await repositories.batch_lists.get(batch_id)
    return {
        "listed": listed,
        "batch": listed.batch,
        "span": span(listed.batch),
        "may_manage": visitor.may(Permission.MANAGE_BATCHES),
        **await progress_of(repositories, listed.batch),
    }
