"""The codes of a batch. Root keys are not on the page: a script asks the JSON API for them, which leaves a trace."""

from typing import Annotated, Final, get_args
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer
from qrtrack.console.views.packing import span
from qrtrack.domain.identity import Permission
from qrtrack.domain.scans import read_code
from qrtrack.schemas.base import LARGEST_SEQUENCE
from qrtrack.schemas.cursors import encode_cursor
from qrtrack.schemas.packing.codes import ListedStatus

router = APIRouter(route_class=ConsoleRoute, prefix="/console/batches/{batch_id}/codes", include_in_schema=False)

PAGE: Final = 100
LONGEST_CODE: Final = 20


@router.get("")
async def show_codes(
    visitor: Packer,
    batch_id: UUID,
    status: Annotated[str, Query(max_length=20)] = "",
    code: Annotated[str, Query(max_length=1000)] = "",
    after: Annotated[int, Query(ge=0, le=LARGEST_SEQUENCE)] = 0,
) -> Response:
    """Lists the codes of the batch. `code` is the beginning of the codes to list, or a scan of a unit."""
    prefix = read_code(code)[:LONGEST_CODE] if code.strip() else ""
    status = status if status in get_args(ListedStatus) else ""
    async with visitor.read() as repositories:
        batch = await repositories.batches.get(batch_id)
        rows = await repositories.codes.list_of_batch(
            batch_id, status=status or None, prefix=prefix or None, after=after, limit=PAGE + 1, with_keys=False
        )
    shown = {name: value for name, value in (("status", status), ("code", prefix)) if value}
    more = urlencode(shown | {"after": rows[PAGE - 1].sequence_number}) if len(rows) > PAGE else None
    asked = shown | {"reveal": "root_key", "limit": PAGE} | ({"cursor": encode_cursor(after)} if after else {})
    return visitor.page(
        "batch_codes.html", ("root_keys",), batch=batch, span=span(batch), codes=rows[:PAGE],
        status=status, statuses=get_args(ListedStatus), code=prefix, after=after, more=more,
        reveal=f"/api/manufacturer/batches/{batch_id}/codes?{urlencode(asked)}",
        may_manage=visitor.may(Permission.MANAGE_BATCHES),
    )  # fmt: skip
