"""Exports of the packing line over HTTP: codes, cases, prepared codes, and the reconciliation, as CSV and XLSX."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import NotFound
from qrtrack.domain.exports import FileType
from qrtrack.domain.qr import AddressNotPublic
from qrtrack.domain.root_keys import NotAskedFor, SealBroken
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import REVEALS, BatchManager, RuntimeState
from qrtrack.routers.downloads import CSV, XLSX, Downloads, sends
from qrtrack.schemas.exports import CsvQuery
from qrtrack.schemas.packing.batches import BATCHES_PATH
from qrtrack.schemas.packing.exports import CodesCsvQuery, CodesQuery, PreparedCsvQuery, PreparedQuery
from qrtrack.services.packing import exports as use_cases
from qrtrack.services.packing.exports import Wanted
from qrtrack.services.public_address import printable_base_url

router = APIRouter(route_class=StrictRoute, tags=["exports"])


@router.get(
    f"{BATCHES_PATH}/{{batch_id}}/codes.csv",
    summary="Export the codes as CSV",
    dependencies=[REVEALS],
    **sends(CSV, NotFound, BatchNotReady, NotAskedFor, SealBroken, AddressNotPublic),
)
async def export_codes_csv(
    batch_id: UUID,
    query: Annotated[CodesCsvQuery, Query()],
    caller: BatchManager,
    runtime: RuntimeState,
    downloads: Downloads,
) -> StreamingResponse:
    """Exports all codes of the batch in serial order: `code, sequence_number, variant, status, case_number,
    master_code`. All rows are of one moment. `POST …/batches/import` takes the file as it is.
    """
    return await send_codes(
        downloads, runtime, caller, query, batch_id=batch_id, wanted=Wanted(FileType.CSV, query.delimiter)
    )


@router.get(
    f"{BATCHES_PATH}/{{batch_id}}/codes.xlsx",
    summary="Export the codes as XLSX",
    dependencies=[REVEALS],
    **sends(XLSX, NotFound, BatchNotReady, NotAskedFor, SealBroken, AddressNotPublic),
)
async def export_codes_xlsx(
    batch_id: UUID,
    query: Annotated[CodesQuery, Query()],
    caller: BatchManager,
    runtime: RuntimeState,
    downloads: Downloads,
) -> StreamingResponse:
    """Exports the same columns as `codes.csv` as a workbook. Codes are text, so that the spreadsheet drops no leading
    zero and no digit.
    """
    return await send_codes(downloads, runtime, caller, query, batch_id=batch_id, wanted=Wanted(FileType.XLSX))


async def send_codes(
    downloads: Downloads,
    runtime: RuntimeState,
    caller: BatchManager,
    query: CodesQuery,
    *,
    batch_id: UUID,
    wanted: Wanted,
) -> StreamingResponse:
    return await downloads.send(
        use_cases.export_codes,
        caller=caller,
        batch_id=batch_id,
        wanted=wanted,
        reveal=runtime.keys if query.reveal else None,
        base_url=printable_base_url(runtime.settings, caller.organisation_id) if query.payload else None,
    )


@router.get(
    f"{BATCHES_PATH}/{{batch_id}}/cases.csv", summary="Export the cases as CSV", **sends(CSV, NotFound, BatchNotReady)
)
async def export_cases_csv(
    batch_id: UUID,
    query: Annotated[CsvQuery, Query()],
    caller: BatchManager,
    downloads: Downloads,
) -> StreamingResponse:
    """Exports all cases of the batch in the order of their numbers: `case_number, master_code, status, units,
    first_code, last_code, completeness, packed_at, station`.
    """
    wanted = Wanted(FileType.CSV, query.delimiter)
    return await downloads.send(use_cases.export_cases, caller=caller, batch_id=batch_id, wanted=wanted)


@router.get(
    f"{BATCHES_PATH}/{{batch_id}}/cases.xlsx",
    summary="Export the cases as XLSX",
    **sends(XLSX, NotFound, BatchNotReady),
)
async def export_cases_xlsx(batch_id: UUID, caller: BatchManager, downloads: Downloads) -> StreamingResponse:
    """Exports the same columns as `cases.csv` as a workbook."""
    wanted = Wanted(FileType.XLSX)
    return await downloads.send(use_cases.export_cases, caller=caller, batch_id=batch_id, wanted=wanted)


@router.get(
    "/api/manufacturer/reverse-job/prepared.csv", summary="Export the prepared codes as CSV", **sends(CSV, NotFound)
)
async def export_prepared_csv(
    query: Annotated[PreparedCsvQuery, Query()], caller: BatchManager, downloads: Downloads
) -> StreamingResponse:
    """Exports the codes that the job queued, in that order: `sequence_number, code, status, consumed_at`."""
    wanted = Wanted(FileType.CSV, query.delimiter)
    return await downloads.send(use_cases.export_prepared, caller=caller, job_id=query.job_id, wanted=wanted)


@router.get(
    "/api/manufacturer/reverse-job/prepared.xlsx", summary="Export the prepared codes as XLSX", **sends(XLSX, NotFound)
)
async def export_prepared_xlsx(
    query: Annotated[PreparedQuery, Query()], caller: BatchManager, downloads: Downloads
) -> StreamingResponse:
    """Exports the same columns as `prepared.csv` as a workbook."""
    wanted = Wanted(FileType.XLSX)
    return await downloads.send(use_cases.export_prepared, caller=caller, job_id=query.job_id, wanted=wanted)


@router.get(
    f"{BATCHES_PATH}/{{batch_id}}/reconciliation.xlsx",
    summary="Export the reconciliation as XLSX",
    **sends(XLSX, NotFound, BatchNotReady),
)
async def export_reconciliation_xlsx(batch_id: UUID, caller: BatchManager, downloads: Downloads) -> StreamingResponse:
    """Exports the reconciliation as a workbook: every code of the batch is counted once. A second sheet lists codes
    that fit no place: each such code means a defect of the service.
    """
    return await downloads.send(use_cases.export_reconciliation, caller=caller, batch_id=batch_id)
