"""The search that every page offers, and the trace of a unit or a case. Scripts call the JSON API to change a unit or a
case.
"""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer, Visitor
from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.identity import Permission
from qrtrack.domain.packing.states import CodeStatus
from qrtrack.repositories.searches import FoundThing
from qrtrack.schemas.base import LARGEST_SEQUENCE, ONE_LINE
from qrtrack.schemas.cursors import LARGEST_ROW_ID
from qrtrack.services.searches import SearchResults, search
from qrtrack.services.trace import Trace, TracePosition, trace_code

router = APIRouter(route_class=ConsoleRoute, prefix="/console", include_in_schema=False)

SHOWN: Final = 100
LONGEST_QUERY: Final = 1000
ENDED: Final = frozenset({CodeStatus.VOID, CodeStatus.REDEEMED})


class TracedPage(BaseModel):
    """The unit or the case to trace. The page begins after the event `event`, and in a case after the unit `unit`."""

    code: str = Field(min_length=1, max_length=LONGEST_QUERY, pattern=ONE_LINE)
    event: int = Field(0, ge=0, le=LARGEST_ROW_ID)
    unit: int = Field(0, ge=0, le=LARGEST_SEQUENCE)


Traced = Annotated[TracedPage, Query()]


@router.get("/search")
async def show_search(visitor: Packer, q: Annotated[str, Query(max_length=LONGEST_QUERY)] = "") -> Response:
    """Lists the results. A single result redirects to its page, unless the scanned symbol names another batch: then the
    list says so.
    """
    found = await _found(visitor, q)
    if found and len(found.results) == 1 and not found.results[0].names_other_batch:
        return RedirectResponse(page_of(found.results[0].found), 303)
    return visitor.page("search.html", searched=q, found=found, page_of=page_of)


async def _found(visitor: Visitor, text: str) -> SearchResults | None:
    """Returns None if the text is empty."""
    try:
        return await search(visitor.database, caller=visitor.caller, text=text)
    except InvalidInput:
        return None


def page_of(thing: FoundThing) -> str:
    match thing.kind:
        case "unit":
            return trace_page(thing.code)
        case "case":
            return trace_page(thing.master_code)
        case "reverse_job":
            return f"/console/jobs/{thing.job_id}"
        case _:
            return f"/console/batches/{thing.batch_id}"


def trace_page(code: str | None, **position: int) -> str:
    return f"/console/trace?{urlencode({'code': code, **position})}"


@router.get("/trace")
async def show_trace(visitor: Packer, asked: Traced) -> Response:
    return visitor.page("trace.html", searched="", **await _trace(visitor, asked))


@router.get("/trace/now")
async def show_trace_now(visitor: Packer, asked: Traced) -> Response:
    return visitor.page("trace_now.html", **await _trace(visitor, asked))


async def _trace(visitor: Visitor, asked: TracedPage) -> dict[str, object]:
    trace = await trace_code(
        visitor.database, caller=visitor.caller, code=asked.code, after=TracePosition(asked.event, asked.unit),
        limit=SHOWN + 1,
    )  # fmt: skip
    may_manage = visitor.may(Permission.MANAGE_BATCHES)
    return {
        "trace": trace,
        "asked": asked,
        "codes": trace.codes[:SHOWN],
        "events": trace.events[:SHOWN],
        "further": _further(trace, asked),
        "trace_page": trace_page,
        "may_undo": may_manage and trace.code is None and trace.case is not None and trace.case.actual_units > 0,
        "may_void": may_manage and trace.code is not None and trace.code.status not in ENDED,
        "may_readmit": may_manage and bool(trace.exclusions),
    }


def _further(trace: Trace, asked: TracedPage) -> str | None:
    """Returns the address of the next page of events and units."""
    codes, events = trace.codes[:SHOWN], trace.events[:SHOWN]
    if len(trace.codes) <= SHOWN and len(trace.events) <= SHOWN:
        return None
    return trace_page(
        asked.code,
        event=events[-1].id if events else asked.event,
        unit=codes[-1].sequence_number if codes else asked.unit,
    )
