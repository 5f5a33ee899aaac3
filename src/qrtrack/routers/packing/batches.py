"""Batches over HTTP: creating, importing, listing, closing, and the QR symbol that all units of a batch share."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request, Response, UploadFile

from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Permission
from qrtrack.domain.packing.batches import BatchClosed, BatchNotReady
from qrtrack.domain.packing.imports import read_codes
from qrtrack.domain.qr import AddressNotPublic, batch_payload, check_printable, draw_png, draw_svg
from qrtrack.domain.root_keys import SealBroken
from qrtrack.repositories.constraints import CodeTaken
from qrtrack.repositories.packing.reconciliation import Reconciliation
from qrtrack.routers.bodies import NoFields, StrictRoute
from qrtrack.routers.body_limits import IMPORT_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import BatchManager, Packer, RuntimeState, check_speaker, require
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.runtime import Runtime
from qrtrack.schemas.base import LARGEST_SEQUENCE
from qrtrack.schemas.packing.batch_lists import BatchFilter, BatchPage, ListedBatch
from qrtrack.schemas.packing.batches import (
    BATCHES_PATH,
    BatchAnswer,
    BatchClosedAnswer,
    BatchCreated,
    BatchRequest,
    BatchRetriedAnswer,
    CloseRequest,
    ImportFields,
    KeysForgottenAnswer,
    ReconciliationAnswer,
)
from qrtrack.schemas.packing.cases import CaseFilter, CasePage
from qrtrack.schemas.packing.codes import CodeFilter, CodePage, RevealedCodePage
from qrtrack.schemas.symbols import SymbolOptions
from qrtrack.services.packing import batches as use_cases
from qrtrack.services.packing import cases, codes, imports, reconciliation
from qrtrack.services.packing.batches import NumbersUsedUp

router = APIRouter(route_class=StrictRoute, prefix=BATCHES_PATH, tags=["batches"])

# A symbol belongs to one organisation, and PUBLIC_BASE_URL may change: only browsers cache it, for five minutes.
SYMBOL_CACHING: Final = {"Cache-Control": "private, max-age=300", "Vary": "Authorization"}


class ImportForm(ImportFields):
    """The file of codes, and the fields sent with it."""

    file: UploadFile


@router.post(
    "",
    status_code=202,
    response_model=BatchCreated,
    summary="Create a batch",
    responses=problems(NumbersUsedUp),
)
async def create_batch(
    body: BatchRequest, caller: BatchManager, runtime: RuntimeState, database: AnsweringDatabase, response: Response
) -> use_cases.CreatedBatch:
    """Reserves the serial numbers and queues the work. Within seconds exactly the requested codes exist, or none.
    Poll `status_url` until `status` is `hashing` or `ready`; then the batch may be printed and packed.

    Send `{"order_id": "…", "product_name": "Gold 1 g", "quantity": 100, "serial_prefix": "SKA"}`; for a batch of
    several variants send `"variants": [{"variant": "10g", "quantity": 60}]` instead of `quantity`.
    """
    notify = runtime.messenger.channels.check(body.notify.asked() if body.notify else None)
    created = await use_cases.create_batch(database, caller=caller, new=body.new_batch(), notify=notify)
    response.headers["Location"] = f"{BATCHES_PATH}/{created.batch_id}"
    return created


@router.post(
    "/import",
    status_code=202,
    response_model=BatchCreated,
    summary="Import codes printed elsewhere",
    responses=problems(CodeTaken),
)
@body_limit(IMPORT_BODY_BYTES)
async def import_batch(
    form: Annotated[ImportForm, Form(media_type="multipart/form-data")],
    caller: BatchManager,
    runtime: RuntimeState,
    database: AnsweringDatabase,
    response: Response,
) -> use_cases.CreatedBatch:
    """Imports codes that were printed before this service was in use: a CSV file in UTF-8 whose first line is
    `code[,root_key][,variant]`, of at most 1,000,000 rows. All or nothing. `errors` names every bad line as
    `/file/{line}/{column}`, also a line whose code exists already.
    """
    check_speaker(form.model_dump(mode="json", include={"manufacturer_org_id", "user_id"}), caller)
    new = form.batch_import()
    imported = await runtime.heavy_work.run(caller.organisation_id, read_codes, form.file.file)
    created = await imports.import_batch(database, caller=caller, keys=runtime.keys, new=new, imported=imported)
    response.headers["Location"] = f"{BATCHES_PATH}/{created.batch_id}"
    return created


@router.get("", response_model=BatchPage, summary="List batches")
async def list_batches(query: Annotated[BatchFilter, Query()], caller: Packer, runtime: RuntimeState) -> dict[str, Any]:
    """Newest first, each with how many units are packed and how many wait in the queue. `?order_id=`, `?status=`,
    `?product_name=`, `?uniq_code=` and `?closed=` filter the list; a batch must match all of them.
    """
    rows = await use_cases.list_batches(
        runtime.database, caller=caller, selection=query.selection(), before=query.before_id(), limit=query.one_more
    )
    return query.page("batches", [ListedBatch.of_row(row) for row in rows], lambda batch: batch.batch_id)


@router.get("/{batch_id}", summary="Get a batch", responses=problems(NotFound))
async def get_batch(batch_id: UUID, caller: Packer, runtime: RuntimeState) -> BatchAnswer:
    """The batch with its counts. `progress` reaches 100 when the last root key is hashed; packing can begin before."""
    return BatchAnswer.of(await use_cases.describe_batch(runtime.database, caller=caller, batch_id=batch_id))


@router.get(
    "/{batch_id}/codes",
    response_model=CodePage | RevealedCodePage,
    summary="List the codes of a batch",
    responses=problems(NotFound, SealBroken),
)
async def list_batch_codes(
    batch_id: UUID,
    query: Annotated[CodeFilter, Query()],
    caller: Packer,
    runtime: RuntimeState,
    response: Response,
) -> CodePage | RevealedCodePage:
    """In serial order. `?status=` takes a status, or `excluded` or `prepared` as the reconciliation counts them.
    `?reveal=root_key` adds the clear root keys; a trace event records who saw which.
    """
    selection: dict[str, Any] = {
        "batch_id": batch_id,
        "status": query.status,
        "prefix": query.code and query.code.upper(),
        "after": query.after_number(LARGEST_SEQUENCE),
    }
    if query.reveal is None:
        rows = await codes.list_codes(runtime.database, caller=caller, limit=query.one_more, **selection)
        return CodePage.model_validate(query.page("codes", rows, lambda row: row.sequence_number))
    require(caller, Permission.MANAGE_BATCHES)
    # Not one row more than the page shows: the trace event says that all rows read here were seen.
    revealed = await codes.reveal_codes(
        runtime.database, caller=caller, keys=runtime.keys, limit=query.limit, **selection
    )
    response.headers["Cache-Control"] = "no-store"
    return RevealedCodePage.model_validate(query.full_page("codes", revealed, lambda row: row.sequence_number))


@router.get(
    "/{batch_id}/cases", response_model=CasePage, summary="List the cases of a batch", responses=problems(NotFound)
)
async def list_batch_cases(
    batch_id: UUID, query: Annotated[CaseFilter, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """In the order of their numbers. `?status=open` lists the empty cases, `?variant=` those of one variant."""
    rows = await cases.list_cases(
        runtime.database,
        caller=caller,
        batch_id=batch_id,
        status=query.status,
        variant=query.variant,
        after=query.after_number(LARGEST_SEQUENCE),
        limit=query.one_more,
    )
    return query.page("cases", rows, lambda row: row.case_number)


@router.get(
    "/{batch_id}/reconciliation",
    response_model=ReconciliationAnswer,
    summary="Account for every code of a batch",
    responses=problems(NotFound, BatchNotReady),
)
async def reconcile_batch(batch_id: UUID, caller: Packer, runtime: RuntimeState) -> Reconciliation:
    """Every code counted once: `void + in_case + scanned_without_case + prepared + excluded + voided_by_closing +
    remaining = generated`. `GET …/codes?status=excluded` lists the excluded units.
    """
    return await reconciliation.reconcile_batch(runtime.database, caller=caller, batch_id=batch_id)


@router.post(
    "/{batch_id}/close",
    response_model=BatchClosedAnswer,
    summary="Close a batch",
    responses=problems(NotFound, BatchNotReady, BatchClosed),
)
async def close_batch(
    batch_id: UUID, body: CloseRequest, caller: BatchManager, database: AnsweringDatabase
) -> use_cases.ClosedBatch:
    """Voids all codes that are neither packed nor with a customer, cancels the batch's jobs and empties its queue.
    This cannot be undone. Send `{"reason": "Run ended short"}`.
    """
    return await use_cases.close_batch(database, caller=caller, batch_id=batch_id, reason=body.reason)


@router.post(
    "/{batch_id}/retry",
    response_model=BatchRetriedAnswer,
    summary="Retry a failed batch",
    responses=problems(NotFound, InvalidState),
)
async def retry_batch(
    batch_id: UUID, caller: BatchManager, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.RetriedBatch:
    """Continues where the batch failed; no code is created twice."""
    return await use_cases.retry_batch(database, caller=caller, batch_id=batch_id)


@router.post(
    "/{batch_id}/forget-keys",
    response_model=KeysForgottenAnswer,
    summary="Forget the clear root keys",
    responses=problems(NotFound, InvalidState),
)
async def forget_keys(
    batch_id: UUID, caller: BatchManager, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.ForgottenKeys:
    """Wipes the keys that labels are printed from. Call it when all labels are printed: it cannot be undone.
    Customers can still check their keys.
    """
    return await use_cases.forget_keys(database, caller=caller, batch_id=batch_id)


SYMBOL_PROBLEMS: Final = problems(NotFound, AddressNotPublic)
SVG: Final = "image/svg+xml"
PNG: Final = "image/png"


@router.get(
    "/{batch_id}/qr.svg",
    response_class=Response,
    summary="Draw the batch's QR as SVG",
    responses=SYMBOL_PROBLEMS | {200: {"content": {SVG: {}}}},
)
async def get_batch_qr_svg(
    batch_id: UUID, options: Annotated[SymbolOptions, Query()], caller: Packer, runtime: RuntimeState, request: Request
) -> Response:
    """The symbol that all units of the batch share. With `If-None-Match` an unchanged symbol is not sent again."""
    payload = await _payload(runtime, caller.organisation_id, batch_id)
    return await _symbol(request, draw_svg, payload, options, SVG)


@router.get(
    "/{batch_id}/qr.png",
    response_class=Response,
    summary="Draw the batch's QR as PNG",
    responses=SYMBOL_PROBLEMS | {200: {"content": {PNG: {}}}},
)
async def get_batch_qr_png(
    batch_id: UUID, options: Annotated[SymbolOptions, Query()], caller: Packer, runtime: RuntimeState, request: Request
) -> Response:
    """As `qr.svg`; a module has a whole number of pixels."""
    payload = await _payload(runtime, caller.organisation_id, batch_id)
    return await _symbol(request, draw_png, payload, options, PNG)


async def _payload(runtime: Runtime, organisation_id: UUID, batch_id: UUID) -> str:
    """Raises NotFound, and in production AddressNotPublic."""
    async with runtime.database.read(tenant=organisation_id) as repositories:
        batch = await repositories.batches.get(batch_id)
    base_url = runtime.settings.public_base_url
    if runtime.settings.qrtrack_env == "production":
        check_printable(base_url)
    return batch_payload(base_url, batch.uniq_code)


async def _symbol(
    request: Request, draw: Callable[..., bytes], payload: str, options: SymbolOptions, media_type: str
) -> Response:
    image = await asyncio.to_thread(draw, payload, **options.model_dump())
    etag = f'"{hashlib.sha256(image).hexdigest()[:32]}"'
    headers = {"ETag": etag, **SYMBOL_CACHING}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    if known & {etag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(image, media_type=media_type, headers=headers)
