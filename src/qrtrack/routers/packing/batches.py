"""Batches over HTTP: ordering, importing, looking, closing, and the QR that all units of a batch share."""

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
    BatchOrder,
    BatchRetriedAnswer,
    CloseOrder,
    ImportFields,
    KeysForgottenAnswer,
    ReconciliationAnswer,
)
from qrtrack.schemas.packing.cases import CaseFilter, CasePage
from qrtrack.schemas.packing.codes import CodeFilter, CodePage, RevealedCodePage
from qrtrack.schemas.symbols import SymbolOptions
from qrtrack.services.packing import batches as use_cases
from qrtrack.services.packing import contents, imports
from qrtrack.services.packing.batches import NumbersUsedUp

router = APIRouter(route_class=StrictRoute, prefix=BATCHES_PATH, tags=["batches"])

# A symbol is the organisation's own, and PUBLIC_BASE_URL may change: kept by the browser, and asked for again after.
SYMBOL_CACHING: Final = {"Cache-Control": "private, max-age=300", "Vary": "Authorization"}


class ImportForm(ImportFields):
    """The file of codes, with what comes along."""

    file: UploadFile


@router.post(
    "",
    status_code=202,
    response_model=BatchCreated,
    summary="Create a batch",
    responses=problems(NumbersUsedUp),
)
async def create_batch(
    order: BatchOrder, caller: BatchManager, runtime: RuntimeState, database: AnsweringDatabase, response: Response
) -> use_cases.CreatedBatch:
    """Reserves the serial numbers and queues the work. Exactly the codes asked for exist seconds later, or none:
    look at `status_url` until `status` is `hashing` or `ready`; from then on the batch may be printed and packed.

    Send `{"order_id": "…", "product_name": "Gold 1 g", "quantity": 100, "serial_prefix": "SKA"}`; for a batch of
    several variants send `"variants": [{"variant": "10g", "quantity": 60}]` instead of `quantity`.
    """
    notify = runtime.messenger.channels.check(order.notify.asked() if order.notify else None)
    created = await use_cases.create_batch(database, caller=caller, new=order.asked(), notify=notify)
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
    """Takes in codes that were printed before this service was there: a CSV file in UTF-8 whose first line is
    `code[,root_key][,variant]`, of at most 1,000,000 rows. All or nothing; every bad line is named in `errors`, as
    `/file/{line}/{column}`, those whose code exists already among them.
    """
    check_speaker(form.model_dump(mode="json", include={"manufacturer_org_id", "user_id"}), caller)
    new = form.asked()
    imported = await runtime.heavy_work.run(caller.organisation_id, read_codes, form.file.file)
    created = await imports.import_batch(database, caller=caller, keys=runtime.keys, new=new, imported=imported)
    response.headers["Location"] = f"{BATCHES_PATH}/{created.batch_id}"
    return created


@router.get("", response_model=BatchPage, summary="List batches")
async def list_batches(query: Annotated[BatchFilter, Query()], caller: Packer, runtime: RuntimeState) -> dict[str, Any]:
    """Newest first, each with how many units are packed and how many wait in the queue. `?order_id=`, `?status=`,
    `?product_name=`, `?uniq_code=` and `?closed=` narrow the list; with several of them a batch has to fit all.
    """
    rows = await use_cases.list_batches(
        runtime.database, caller=caller, selection=query.selection(), before=query.before_id(), limit=query.one_more
    )
    return query.page("batches", [ListedBatch.listed(row) for row in rows], lambda batch: batch.batch_id)


@router.get("/{batch_id}", summary="Look at a batch", responses=problems(NotFound))
async def get_batch(batch_id: UUID, caller: Packer, runtime: RuntimeState) -> BatchAnswer:
    """The batch with its counts. `progress` reaches 100 when the last root key is hashed; packing does not wait
    for that.
    """
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
    """In serial order. `?status=` takes a state, or `excluded` or `prepared` as the reconciliation counts them.
    `?reveal=root_key` adds the clear root keys; who looked at which is traced.
    """
    asked: dict[str, Any] = {"batch_id": batch_id, "status": query.status, "prefix": query.code and query.code.upper()}
    asked["after"] = query.after_number(LARGEST_SEQUENCE)
    if query.reveal is None:
        rows = await contents.list_codes(runtime.database, caller=caller, limit=query.one_more, **asked)
        return CodePage.model_validate(query.page("codes", rows, lambda row: row.sequence_number))
    require(caller, Permission.MANAGE_BATCHES)
    # Not one row more than is shown: what is read here is traced as seen.
    rows = await contents.reveal_codes(runtime.database, caller=caller, keys=runtime.keys, limit=query.limit, **asked)
    response.headers["Cache-Control"] = "no-store"
    return RevealedCodePage.model_validate(query.full_page("codes", rows, lambda row: row.sequence_number))


@router.get(
    "/{batch_id}/cases", response_model=CasePage, summary="List the cases of a batch", responses=problems(NotFound)
)
async def list_batch_cases(
    batch_id: UUID, query: Annotated[CaseFilter, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """In the order of their numbers. `?status=open` lists those still to be packed, `?variant=` one variant's."""
    rows = await contents.list_cases(
        runtime.database,
        caller=caller,
        batch_id=batch_id,
        status=query.status,
        variant=query.variant,
        after=query.after_number(LARGEST_SEQUENCE),
        limit=query.one_more,
    )
    return query.page("cases", rows, lambda row: int(row.case_number))


@router.get(
    "/{batch_id}/reconciliation",
    response_model=ReconciliationAnswer,
    summary="Account for every code of a batch",
    responses=problems(NotFound, BatchNotReady),
)
async def reconcile_batch(batch_id: UUID, caller: Packer, runtime: RuntimeState) -> contents.Reconciliation:
    """Every code counted once: `void + in_case + scanned_without_case + prepared + excluded + voided_by_closing +
    remaining = generated`. `GET …/codes?status=excluded` lists the excluded units.
    """
    return await contents.reconcile_batch(runtime.database, caller=caller, batch_id=batch_id)


@router.post(
    "/{batch_id}/close",
    response_model=BatchClosedAnswer,
    summary="Close a batch",
    responses=problems(NotFound, BatchNotReady, BatchClosed),
)
async def close_batch(
    batch_id: UUID, order: CloseOrder, caller: BatchManager, database: AnsweringDatabase
) -> use_cases.ClosedBatch:
    """Voids whatever is neither packed nor with a customer, cancels the batch's jobs and empties its queue, in one
    step. It cannot be undone. Send `{"reason": "Run ended short"}`.
    """
    return await use_cases.close_batch(database, caller=caller, batch_id=batch_id, reason=order.reason)


@router.post(
    "/{batch_id}/retry",
    response_model=BatchRetriedAnswer,
    summary="Retry a failed batch",
    responses=problems(NotFound, InvalidState),
)
async def retry_batch(
    batch_id: UUID, caller: BatchManager, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.RetriedBatch:
    """Goes on where the batch failed, and makes nothing twice."""
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
    """Wipes the keys that labels are printed from, once all labels are printed. It cannot be undone; customers can
    still check their keys.
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
    """The symbol that all units of the batch share. `ETag` and `If-None-Match` spare sending it again."""
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
    """As `qr.svg`, in whole pixels a module."""
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
