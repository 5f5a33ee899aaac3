"""The verification page: alerts, reports and checks of one batch or of all, and the recalls in force."""

from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer, Visitor
from qrtrack.console.views.recalls import suggested_texts
from qrtrack.domain.identity import Permission
from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.domain.scans import read_uniq_code
from qrtrack.models import Batch
from qrtrack.repositories.verification.recalls import RecallRow
from qrtrack.repositories.verification.records import Record, Shown
from qrtrack.schemas.base import RowId
from qrtrack.services.verification.records import list_records

router = APIRouter(route_class=ConsoleRoute, prefix="/console/verification", include_in_schema=False)

PAGE: Final = 50
SHOWN_RECALLS: Final = 50
KINDS: Final[tuple[Shown, ...]] = ("alerts", "reports", "checks")

Chosen = Annotated[str, Query(max_length=1000, description="A batch: its id, or a scan of its symbol.")]
Before = Annotated[RowId | None, Query()]


@router.get("")
async def show_verification(
    visitor: Packer, show: Shown = "alerts", batch: Chosen = "", before: Before = None
) -> Response:
    state = await _state(visitor, show, batch, before)
    recalls: Sequence[RecallRow] = ()
    if not state["is_unknown"]:
        async with visitor.read() as repositories:
            recalls = await repositories.recalls.list(
                batch_id=state["batch_id"], is_in_force=True, before=None, limit=SHOWN_RECALLS
            )
    back = "/console/verification" + (f"?{urlencode({'batch': batch})}" if batch else "")
    return visitor.page(
        "verification.html", **state, recalls=recalls, back=back, suggested=suggested_texts(), kinds=KINDS,
    )  # fmt: skip


@router.get("/now")
async def show_now(visitor: Packer, show: Shown = "alerts", batch: Chosen = "", before: Before = None) -> Response:
    return visitor.page("verification_now.html", **await _state(visitor, show, batch, before))


async def _state(visitor: Visitor, show: Shown, asked: str, before: int | None) -> dict[str, Any]:
    asked = asked.strip()
    batch = await _find(visitor, asked) if asked else None
    batch_id = None if batch is None else batch.id
    is_unknown = bool(asked) and batch is None
    rows: Sequence[Record] = ()
    if not is_unknown:
        rows = await list_records(
            visitor.database, caller=visitor.caller, batch_id=batch_id, show=show, before=before, limit=PAGE + 1
        )
    chosen = {"batch": asked} if asked else {}
    return {
        "may_manage": visitor.may(Permission.MANAGE_BATCHES),
        "show": show,
        "asked": asked,
        "batch": batch,
        "batch_id": batch_id,
        "is_unknown": is_unknown,
        "records": rows[:PAGE],
        "before": before,
        "here": urlencode(chosen | {"show": show}),
        "chosen": urlencode(chosen),
        "more": rows[PAGE - 1].id if len(rows) > PAGE else None,
    }


async def _find(visitor: Visitor, asked: str) -> Batch | None:
    try:
        selection = BatchSelection(id=UUID(asked))
    except ValueError:
        selection = BatchSelection(uniq_code=read_uniq_code(asked))
    async with visitor.read() as repositories:
        found = await repositories.batch_lists.list(selection, before=None, limit=1)
    return found[0].batch if found else None
