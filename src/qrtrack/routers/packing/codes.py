"""Codes over HTTP: voiding, marking as printed, readmitting."""

from typing import Final

from fastapi import APIRouter

from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidState, NotFound, require_exactly_one
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.code_lists import UnitOfOtherBatch, UnknownCodes
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.body_limits import LARGE_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import BatchManager, Packer, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.packing.code_lists import read_codes
from qrtrack.routers.problems import problems
from qrtrack.schemas.packing.codes import (
    CodesChangedAnswer,
    CodesReadmittedAnswer,
    PrintedRequest,
    ReadmitRequest,
    VoidRequest,
)
from qrtrack.services.packing import codes as use_cases
from qrtrack.services.packing.codes import IllegalTransition

OF_A_LIST: Final = (NotFound, BatchNotReady, UnknownCodes, UnitOfOtherBatch)

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/codes", tags=["codes"])


@router.post(
    "/void",
    response_model=CodesChangedAnswer,
    summary="Void codes",
    responses=problems(*OF_A_LIST, IllegalTransition, InvalidState),
)
@body_limit(LARGE_BODY_BYTES)
async def void_codes(
    body: VoidRequest, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> use_cases.ChangedCodes:
    """Takes damaged or withdrawn units out of their cases and out of the queue, for good. All codes are voided, or
    none. Send `{"batch_id": "…", "codes": ["SKA000007"], "reason": "Label torn"}`.
    """
    pasted = await read_codes(runtime, caller, body.codes)
    return await use_cases.void_codes(
        database, caller=caller, batch_id=body.batch_id, codes=pasted.codes, scans=pasted.scans, reason=body.reason
    )


@router.post(
    "/printed",
    response_model=CodesChangedAnswer,
    summary="Mark codes as printed",
    responses=problems(*OF_A_LIST, BatchClosed, IllegalTransition),
)
@body_limit(LARGE_BODY_BYTES)
async def mark_codes_printed(
    body: PrintedRequest, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase
) -> use_cases.ChangedCodes:
    """Marks a list of codes. `"all": true` marks those of the batch that are not yet marked, packed, void or with a
    consumer. Codes of a list that are already marked stay marked and are not counted.
    """
    require_exactly_one(codes=body.codes, all=body.all)
    if body.codes is None:
        return await use_cases.mark_printed(database, caller=caller, batch_id=body.batch_id, codes=None)
    pasted = await read_codes(runtime, caller, body.codes)
    return await use_cases.mark_printed(
        database, caller=caller, batch_id=body.batch_id, codes=pasted.codes, scans=pasted.scans
    )


@router.post(
    "/readmit",
    response_model=CodesReadmittedAnswer,
    summary="Readmit excluded codes",
    responses=problems(*OF_A_LIST, BatchClosed),
)
@body_limit(LARGE_BODY_BYTES)
async def readmit_codes(
    body: ReadmitRequest, caller: BatchManager, runtime: RuntimeState, database: AnsweringDatabase
) -> use_cases.ReadmittedCodes:
    """Ends the exclusion of units that turned out to be good. The next reverse job prepares them."""
    pasted = await read_codes(runtime, caller, body.codes)
    return await use_cases.readmit_codes(
        database, caller=caller, batch_id=body.batch_id, codes=pasted.codes, scans=pasted.scans
    )
