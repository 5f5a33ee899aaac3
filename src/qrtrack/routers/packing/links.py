"""Linking over HTTP: packing a case from the queue, unit by unit, undoing it, and the scan history."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from qrtrack.domain.errors import FieldError, InvalidInput, InvalidState, NotFound
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.batches import BatchClosed, BatchNotReady
from qrtrack.domain.packing.case_packing import (
    CaseAlreadyPacked,
    CaseOfOtherBatch,
    CountDrift,
    FirstCodeNotPrepared,
    NotEnoughPrepared,
    OrderMismatch,
    PackCase,
    VariantMismatch,
)
from qrtrack.domain.packing.code_lists import PastedCodes, UnitOfOtherBatch, parse_code
from qrtrack.metrics import CHECKED_BEFORE_PACKED, count_link
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.body_limits import LARGE_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import Packer, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.packing.code_lists import read_codes
from qrtrack.routers.problems import problems
from qrtrack.schemas.base import LARGEST_ROW_ID
from qrtrack.schemas.packing.links import (
    LinkedAnswer,
    LinkOrder,
    MovedAnswer,
    MoveOrder,
    PackedAnswer,
    PackedCaseEvent,
    PackFilter,
    PackOrder,
    PackPage,
    UnlinkedAnswer,
    UnlinkOrder,
)
from qrtrack.services.packing import case_packing, moves
from qrtrack.services.packing import links as use_cases
from qrtrack.services.packing.case_packing import CodeTakenMeanwhile
from qrtrack.services.packing.links import CodesNotLinkable, CodesNotPacked
from qrtrack.services.packing.moves import CaseTooSmall
from qrtrack.services.trace import list_packs as find_packs

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer", tags=["linking"])


@router.post(
    "/link-to-master-from-queue",
    response_model=PackedAnswer,
    summary="Pack a case from the queue",
    responses=problems(
        NotFound,
        BatchNotReady,
        BatchClosed,
        OrderMismatch,
        CaseOfOtherBatch,
        CaseAlreadyPacked,
        VariantMismatch,
        UnitOfOtherBatch,
        FirstCodeNotPrepared,
        NotEnoughPrepared,
        CountDrift,
        InvalidState,
        CodeTakenMeanwhile,
    ),
)
@body_limit(LARGE_BODY_BYTES)
async def pack_case(
    order: PackOrder, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> case_packing.PackedCase:
    """Takes the next prepared units, one contiguous run in serial order, into the case: all or nothing.

    Send `{"batch_id": "…", "order_id": "…", "master_code": "…", "first_code": "SKA000001", "last_code":
    "SKA000100"}`. The two check scans are optional; with them nothing is packed unless the box holds what the queue
    says, and the case is `verified`. `skipped` tells what waits in the queue before a first unit further on. A
    `count-drift` names the codes in question: look which is not in the box, and
    send the same call with it in `missing_codes`.
    """
    first, last = _unit(order.first_code, "first_code"), _unit(order.last_code, "last_code")
    missing = await read_codes(runtime, caller, order.missing_codes, field="missing_codes", may_be_empty=True)
    wanted = PackCase(
        batch_id=order.batch_id,
        order_id=order.order_id,
        master_code=order.master_code,
        target_units=order.target_units,
        allow_partial=order.allow_partial,
        variant=order.variant,
        first_code=next(iter(first.codes), None),
        last_code=next(iter(last.codes), None),
        missing_codes=missing.codes,
        scans=[*first.scans, *last.scans, *missing.scans],
        station=order.station,
    )
    packed = await case_packing.pack_case(database, caller=caller, order=wanted)
    count_link("queue", packed.linked_count)
    CHECKED_BEFORE_PACKED.inc(len(packed.left_queue))
    return packed


def _unit(scanned: str | None, field: str) -> PastedCodes:
    return PastedCodes([]) if scanned is None else parse_code(scanned, field=field)


@router.post(
    "/link-to-master",
    response_model=LinkedAnswer,
    summary="Link scanned units to a case",
    responses=problems(
        NotFound,
        BatchNotReady,
        BatchClosed,
        OrderMismatch,
        CaseOfOtherBatch,
        CodesNotLinkable,
        CodeTakenMeanwhile,
    ),
)
@body_limit(LARGE_BODY_BYTES)
async def link_codes(
    order: LinkOrder, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> use_cases.LinkedCodes:
    """Adds units that were scanned one by one, up to what the case holds; the case may be packed already. All or
    nothing, unless `accept_valid`. A code that is in a case is never moved: unlink it there first.
    """
    pasted = await read_codes(runtime, caller, order.codes)
    wanted = use_cases.LinkCodes(
        batch_id=order.batch_id,
        order_id=order.order_id,
        master_code=order.master_code,
        codes=pasted.codes,
        scans=pasted.scans,
        accept_valid=order.accept_valid,
        station=order.station,
    )
    linked = await use_cases.link_codes(database, caller=caller, order=wanted)
    count_link("scans", linked.linked_count)
    return linked


@router.post(
    "/unlink-from-master",
    response_model=UnlinkedAnswer,
    summary="Take units out of their case",
    responses=problems(NotFound, BatchClosed, UnitOfOtherBatch, CodesNotPacked, InvalidState, CodeTakenMeanwhile),
)
@body_limit(LARGE_BODY_BYTES)
async def unlink_codes(
    order: UnlinkOrder, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> use_cases.UnlinkedCodes:
    """Undoes linking, for a list of codes or for a whole case: the units become what they were before, and those that
    came from the queue return to their places there, so that the next case takes them again. Send `{"master_code": "…",
    "reason": "Box dropped"}` or `codes` in its place.

    Was only the wrong case scanned, and the box is right? Then `move-case` is the right tool: another station may take
    the units that return to the queue.
    """
    if (order.codes is None) == (order.master_code is None):
        detail = "Send either codes or master_code."
        fields = {"fields": ["codes", "master_code"]}
        raise InvalidInput(detail, errors=[FieldError("/codes", detail, FieldCode.EXACTLY_ONE_OF, fields)])
    pasted = None if order.codes is None else await read_codes(runtime, caller, order.codes)
    return await use_cases.unlink_codes(
        database,
        caller=caller,
        codes=pasted.codes if pasted else None,
        scans=pasted.scans if pasted else (),
        master_code=order.master_code,
        reason=order.reason,
        station=order.station,
        requeue=order.requeue,
    )


@router.post(
    "/move-case",
    response_model=MovedAnswer,
    summary="Move a box to the case it belongs in",
    responses=problems(
        NotFound,
        BatchNotReady,
        BatchClosed,
        CaseOfOtherBatch,
        VariantMismatch,
        CaseAlreadyPacked,
        CaseTooSmall,
        InvalidState,
        CodeTakenMeanwhile,
    ),
)
async def move_case(order: MoveOrder, caller: Packer, database: AnsweringDatabase) -> moves.MovedCase:
    """The box is right, but the wrong case was scanned for it: all that is in one case goes to another, open one, in
    one step. Units that a customer has checked go along. Send `{"from_master_code": "…", "to_master_code": "…",
    "reason": "Wrong case scanned"}`.
    """
    return await moves.move_case(
        database,
        caller=caller,
        from_master_code=order.from_master_code,
        to_master_code=order.to_master_code,
        reason=order.reason,
        station=order.station,
    )


@router.get("/packs", response_model=PackPage, summary="List the latest packs")
async def list_packs(query: Annotated[PackFilter, Query()], caller: Packer, runtime: RuntimeState) -> dict[str, Any]:
    """What the stations packed, the latest first. `?batch_id=`, `?station=` and `?user=` narrow the list. A pack whose
    units were taken out of the case later, by unlinking or voiding them, stays in the list: `undone_at` says since
    when, and `undone_count` how many of its units.
    """
    rows = await find_packs(
        runtime.database,
        caller=caller,
        selection=query.selection(),
        before=query.after_number(LARGEST_ROW_ID) or None,
        limit=query.one_more,
    )
    return query.page("packs", [PackedCaseEvent.of(row) for row in rows], lambda pack: pack.event_id)
