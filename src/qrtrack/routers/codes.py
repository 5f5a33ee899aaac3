"""Codes over HTTP: printed, void, readmitted."""

from fastapi import APIRouter

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.code_lists import read_codes
from qrtrack.routers.dependencies import BatchManager, Packer
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import refusals
from qrtrack.schemas.codes import CodesChangedAnswer, CodesReadmittedAnswer, PrintedOrder, ReadmitOrder, VoidOrder
from qrtrack.services import codes as use_cases

router = APIRouter(
    route_class=StrictRoute,
    prefix="/api/manufacturer/codes",
    tags=["codes"],
    responses=refusals(
        {
            404: "`not-found`: your organisation has no such batch.",
            409: "`illegal-transition` with `codes`, each with its state; `batch-not-ready`; `batch-closed`, where the "
            "step makes no sense any more (`printed`, `readmit`).",
            422: "`unknown-codes` with `codes` that are not in the batch; `unit-of-other-batch`; `invalid-input`.",
        }
    ),
)


@router.post("/void", response_model=CodesChangedAnswer, summary="Void codes")
async def void_codes(order: VoidOrder, caller: Packer, database: AnsweringDatabase) -> use_cases.ChangedCodes:
    """Takes damaged or withdrawn units out of their case and out of the queue, for good. All or nothing.
    Send `{"batch_id": "…", "codes": ["SKA000007"], "reason": "Label torn"}`.
    """
    pasted = await read_codes(order.codes)
    return await use_cases.void_codes(
        database, caller=caller, batch_id=order.batch_id, codes=pasted.codes, scans=pasted.scans, reason=order.reason
    )


@router.post("/printed", response_model=CodesChangedAnswer, summary="Mark codes as printed")
async def mark_codes_printed(
    order: PrintedOrder, caller: Packer, database: AnsweringDatabase
) -> use_cases.ChangedCodes:
    """Marks a list, or with `"all": true` whatever of the batch is not marked yet. Codes that are printed already
    stay so and are not counted.
    """
    if (order.codes is None) == (order.all is None):
        detail = "Send either codes or all."
        raise InvalidInput(detail, errors=[FieldError("/codes", detail)])
    if order.codes is None:
        return await use_cases.mark_printed(database, caller=caller, batch_id=order.batch_id, codes=None)
    pasted = await read_codes(order.codes)
    return await use_cases.mark_printed(
        database, caller=caller, batch_id=order.batch_id, codes=pasted.codes, scans=pasted.scans
    )


@router.post("/readmit", response_model=CodesReadmittedAnswer, summary="Readmit excluded codes")
async def readmit_codes(
    order: ReadmitOrder, caller: BatchManager, database: AnsweringDatabase
) -> use_cases.ReadmittedCodes:
    """Ends the exclusion of units that are good after all: the next reverse job prepares them."""
    pasted = await read_codes(order.codes)
    return await use_cases.readmit_codes(
        database, caller=caller, batch_id=order.batch_id, codes=pasted.codes, scans=pasted.scans
    )
