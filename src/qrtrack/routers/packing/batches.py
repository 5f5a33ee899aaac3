"""Batches over HTTP: creating, importing, listing and closing."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Query, Response, UploadFile

from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Permission
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.gtin_owners import GtinTaken
from qrtrack.domain.packing.imports import read_codes
from qrtrack.domain.root_keys import NotAskedFor, SealBroken
from qrtrack.repositories.constraints import CodeTaken
from qrtrack.repositories.packing.reconciliation import Reconciliation
from qrtrack.routers.bodies import NoFields, StrictRoute
from qrtrack.routers.body_limits import IMPORT_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import REVEALS, BatchManager, Packer, RuntimeState, check_speaker, require
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
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
from qrtrack.services.packing import batches as use_cases
from qrtrack.services.packing import codes, imports, reconciliation
from qrtrack.services.packing.batches import NumbersUsedUp

router = APIRouter(route_class=StrictRoute, prefix=BATCHES_PATH, tags=["batches"])


class ImportForm(ImportFields):
    """The form of an import: the file of codes, and the fields that are sent with it."""

    file: UploadFile


@router.post(
    "",
    status_code=202,
    summary="Create a batch",
    responses=problems(NumbersUsedUp, GtinTaken),
)
async def create_batch(
    body: BatchRequest, caller: BatchManager, runtime: RuntimeState, database: AnsweringDatabase, response: Response
) -> BatchCreated:
    """Reserves the serial numbers, and queues the work that creates the codes. Poll `status_url` until `status` is
    `hashing` or `ready`: then exactly the requested codes exist, and the batch may be printed and packed. If it is
    `failed`, call `retry`.

    Send `{"order_id": "…", "product_name": "Gold 1 g", "quantity": 100, "serial_prefix": "SKA"}`; for a batch of
    several variants send `"variants": [{"variant": "10g", "quantity": 60}]` instead of `quantity`.
    """
    notify = runtime.messenger.channels.check(body.notify.recipients() if body.notify else None)
    new = body.new_batch(requires_release=runtime.settings.verify_requires_release)
    created = await use_cases.create_batch(database, caller=caller, new=new, notify=notify)
    answer = BatchCreated.model_validate(created)
    response.headers["Location"] = answer.status_url
    return answer


@router.post(
    "/import",
    status_code=202,
    summary="Import codes printed elsewhere",
    responses=problems(CodeTaken, GtinTaken),
)
@body_limit(IMPORT_BODY_BYTES)
async def import_batch(
    form: Annotated[ImportForm, Form(media_type="multipart/form-data")],
    caller: BatchManager,
    runtime: RuntimeState,
    database: AnsweringDatabase,
    response: Response,
) -> BatchCreated:
    """Imports codes that were printed before this service was in use. Send a CSV file in UTF-8 with at most 1,000,000
    rows and the first line `code[,root_key][,variant]`. All rows are imported, or none. `errors` names the
    first 100 bad lines as `/file/{line}/{column}`, including lines whose code exists already; `error_count` counts all.
    """
    check_speaker(form.model_dump(mode="json", include={"manufacturer_org_id", "user_id"}), caller)
    new = form.batch_import()
    imported = await runtime.heavy_work.run(caller.organisation_id, read_codes, form.file.file)
    created = await imports.import_batch(database, caller=caller, keys=runtime.keys, new=new, imported=imported)
    answer = BatchCreated.model_validate(created)
    response.headers["Location"] = answer.status_url
    return answer


@router.get("", response_model=BatchPage, summary="List batches")
async def list_batches(query: Annotated[BatchFilter, Query()], caller: Packer, runtime: RuntimeState) -> dict[str, Any]:
    """Lists batches, newest first, each with how many units are packed and how many wait in the queue. `?order_id=`,
    `?status=`, `?product_name=`, `?uniq_code=` and `?closed=` filter the list; a batch must match all of them.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        rows = await repositories.batch_lists.list_with_queues(
            query.selection(), before=query.before_id(), limit=query.one_more
        )
    return query.page("batches", [ListedBatch.of_row(row) for row in rows], lambda batch: batch.batch_id)


@router.get("/{batch_id}", summary="Get a batch", responses=problems(NotFound))
async def get_batch(batch_id: UUID, caller: Packer, runtime: RuntimeState) -> BatchAnswer:
    """Shows the batch and its counts. `progress` reaches 100 when the last root key is hashed; packing can begin
    earlier.
    """
    return BatchAnswer.of(await use_cases.describe_batch(runtime.database, caller=caller, batch_id=batch_id))


@router.get(
    "/{batch_id}/codes",
    response_model=CodePage | RevealedCodePage,
    summary="List the codes of a batch",
    responses=problems(NotFound, NotAskedFor, SealBroken),
    dependencies=[REVEALS],
)
async def list_batch_codes(
    batch_id: UUID,
    query: Annotated[CodeFilter, Query()],
    caller: Packer,
    runtime: RuntimeState,
    response: Response,
) -> CodePage | RevealedCodePage:
    """Lists codes in serial order. `?status=` takes a status, or `excluded` or `prepared` as the reconciliation counts
    them. `?reveal=root_key` adds the clear root keys; a trace event records who saw which.
    """
    selection: dict[str, Any] = {
        "batch_id": batch_id,
        "status": query.status,
        "prefix": query.code,
        "after": query.after_number(LARGEST_SEQUENCE),
    }
    if query.reveal is None:
        rows = await codes.list_codes(runtime.database, caller=caller, limit=query.one_more, **selection)
        return CodePage.model_validate(query.page("codes", rows, lambda row: row.sequence_number))
    require(caller, Permission.MANAGE_BATCHES)
    # Reads not one row more than the page shows: the trace event says that the caller saw every row that is read here.
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
    """Lists cases in the order of their numbers. `?status=open` lists the empty cases, `?variant=` those of one
    variant.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        await repositories.batches.get(batch_id)
        rows = await repositories.cases.list_of_batch(
            batch_id,
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
    """Counts every code once: `void + in_case + scanned_without_case + prepared + excluded + voided_by_closing +
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
    """Voids all codes that are neither packed nor with a consumer, cancels the batch's jobs and empties its queue.
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
    """Runs the failed stage again. Creating begins anew; hashing continues with the chunks that failed. No code is
    created twice.
    """
    return await use_cases.retry_batch(database, caller=caller, batch_id=batch_id)


@router.post(
    "/{batch_id}/forget-keys",
    response_model=KeysForgottenAnswer,
    summary="Delete the clear root keys",
    responses=problems(NotFound, InvalidState),
)
async def forget_keys(
    batch_id: UUID, caller: BatchManager, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.ForgottenKeys:
    """Deletes the keys that labels are printed from. Call it when all labels are printed: it cannot be undone.
    Consumers can still check their keys.
    """
    return await use_cases.forget_keys(database, caller=caller, batch_id=batch_id)
