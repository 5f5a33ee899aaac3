"""Linking over HTTP: packing from the queue, linking scanned units, unlinking, moving, and the latest packs."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidState, NotFound, require_exactly_one
from qrtrack.domain.packing.batches import BatchClosed
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
from qrtrack.schemas.packing.links import (
    LinkedAnswer,
    LinkRequest,
    MovedAnswer,
    MoveRequest,
    PackedAnswer,
    PackFilter,
    PackPage,
    PackRequest,
    UnlinkedAnswer,
    UnlinkRequest,
)
from qrtrack.services.packing import case_packing, moves
from qrtrack.services.packing import links as use_cases
from qrtrack.services.packing.case_packing import CodeTakenMeanwhile
from qrtrack.services.packing.links import CodesNotLinkable, CodesNotPacked
from qrtrack.services.packing.moves import CaseTooSmall

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
    body: PackRequest, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> case_packing.PackedCase:
    """Packs the next prepared units, one run in serial order, into the case. All of them are packed, or none.

    Send `{"batch_id": "…", "order_id": "…", "master_code": "…", "first_code": "SKA000001", "last_code": "SKA000100"}`.
    The two check scans are optional. With them, units are packed only if the box matches the queue, and the case is
    `verified`. `skipped` names the units that wait in the queue before the scanned first unit. The refusal
    `count-drift` has a `cause`. If it is `unit_missing`, check which of `codes` is not in the box, and send the same
    request with that code in `missing_codes`.
    """
    first, last = _unit(body.first_code, "first_code"), _unit(body.last_code, "last_code")
    missing = await read_codes(runtime, caller, body.missing_codes, field="missing_codes", may_be_empty=True)
    request = PackCase(
        batch_id=body.batch_id,
        order_id=body.order_id,
        master_code=body.master_code,
        target_units=body.target_units,
        allow_partial=body.allow_partial,
        variant=body.variant,
        first_code=next(iter(first.codes), None),
        last_code=next(iter(last.codes), None),
        missing_codes=missing.codes,
        scans=[*first.scans, *last.scans, *missing.scans],
        station=body.station,
    )
    packed = await case_packing.pack_case(database, caller=caller, request=request)
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
    body: LinkRequest, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> use_cases.LinkedCodes:
    """Adds units that were scanned one by one, up to the size of the case. The case may contain units already. All
    units are added, or none, unless `accept_valid` is set. A code that is in another case is refused: unlink it there
    first.
    """
    pasted = await read_codes(runtime, caller, body.codes)
    request = use_cases.LinkCodes(
        batch_id=body.batch_id,
        order_id=body.order_id,
        master_code=body.master_code,
        codes=pasted.codes,
        scans=pasted.scans,
        accept_valid=body.accept_valid,
        station=body.station,
    )
    linked = await use_cases.link_codes(database, caller=caller, request=request)
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
    body: UnlinkRequest, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> use_cases.UnlinkedCodes:
    """Takes the listed codes, or all codes of a case, out of their cases. The units return to the status before
    packing. Those that came from the queue return to their places there, and the next case takes them again (not with
    `"requeue": false`). Send
    `{"master_code": "…", "reason": "Box dropped"}`, or `codes` instead of `master_code`.

    If the box is right and only the wrong case was scanned, call `move-case` instead: units that return to the queue
    may be taken by another station.
    """
    require_exactly_one(codes=body.codes, master_code=body.master_code)
    pasted = None if body.codes is None else await read_codes(runtime, caller, body.codes)
    return await use_cases.unlink_codes(
        database,
        caller=caller,
        codes=pasted.codes if pasted else None,
        scans=pasted.scans if pasted else (),
        master_code=body.master_code,
        reason=body.reason,
        station=body.station,
        requeue=body.requeue,
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
async def move_case(body: MoveRequest, caller: Packer, database: AnsweringDatabase) -> moves.MovedCase:
    """Moves all units of one case to an open one. Use it if the box is right but was scanned as the wrong case. Units
    that a consumer has checked move too. Send `{"from_master_code": "…", "to_master_code": "…", "reason": "Wrong case
    scanned"}`.
    """
    return await moves.move_case(
        database,
        caller=caller,
        from_master_code=body.from_master_code,
        to_master_code=body.to_master_code,
        reason=body.reason,
        station=body.station,
    )


@router.get("/packs", response_model=PackPage, summary="List the latest packs")
async def list_packs(query: Annotated[PackFilter, Query()], caller: Packer, runtime: RuntimeState) -> dict[str, Any]:
    """Lists what the stations packed, latest first. `?batch_id=`, `?station=` and `?user=` filter the list. A pack
    stays in the list after its units were unlinked or voided: `undone_at` says since when, and `undone_count` how many
    units.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        rows = await repositories.trace.list_packs(
            query.selection(), before=query.before_number(), limit=query.one_more
        )
    return query.page("packs", rows, lambda pack: pack.event_id)
