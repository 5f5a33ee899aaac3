"""Exports: the codes of a batch as CSV beside COPY … TO STDOUT, and as XLSX beside bare XlsxWriter.

Bars: 0.5 of the speed of COPY for CSV and 0.8 of the speed of XlsxWriter for XLSX, of 100,000 codes; an export of
1,000,000 codes grows the process by less than 64 MiB (`--full`; without it 100,000 codes). Ours reads the file to its
end as well. Bare COPY throws the bytes away; bare XlsxWriter has its rows in memory already, and writes in a thread,
too.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID

from xlsxwriter import Workbook

from benchmarks.ground import Ground, MemoryWatch, alternate, open_ground, timed
from benchmarks.report import Report
from benchmarks.seed import seed_batch, tidy
from qrtrack.domain.exports import FileType
from qrtrack.services.packing.exports import Wanted, export_codes

CODES = 100_000
MOST = 1_000_000
PART_BYTES = 256 * 1024
ROWS = """
SELECT code.code, code.sequence_number, code.variant, code.status, box.case_number, box.master_code
FROM qr_codes AS code
LEFT JOIN qr_master_codes AS box ON box.id = code.master_code_id
WHERE code.batch_id = $1
ORDER BY code.sequence_number
"""
NUMBERS = (1, 4)


async def run(*, full: bool) -> Report:
    report = Report("exports")
    async with open_ground() as ground:
        batch_id = (await seed_batch(ground.bare, ground.organisation, CODES, packed=True)).batch_id
        large_id = batch_id
        if full:
            large_id = (await seed_batch(ground.bare, ground.organisation, MOST, packed=True)).batch_id
        await tidy(ground.bare)
        rounds = 3 + 2 * full
        csv, copy = await alternate(
            rounds, partial(_export, ground, batch_id, FileType.CSV), partial(_copy, ground, batch_id)
        )
        rows = [tuple(row) for row in await ground.bare.fetch(ROWS, batch_id)]
        xlsx, bare = await alternate(rounds, partial(_export, ground, batch_id, FileType.XLSX), partial(_bare, rows))
        del rows
        report.speed_at_least(f"{CODES:,} codes as CSV, speed of COPY", csv, copy, 0.5)
        report.speed_at_least(f"{CODES:,} codes as XLSX, speed of bare XlsxWriter", xlsx, bare, 0.8)
        for file_type in FileType:
            seconds, grown = await MemoryWatch().watch(_export(ground, large_id, file_type))
            count = MOST if full else CODES
            report.at_most(f"{count:,} codes as {file_type.upper()}, growth of the process", grown, "MiB", 64)
            report.note(f"{count:,} codes as {file_type.upper()}: {seconds:.1f} s")
        report.publish(ground.machine)
    return report


async def _export(ground: Ground, batch_id: UUID, file_type: FileType) -> float:
    return await timed(partial(_exported, ground, batch_id, file_type))


async def _exported(ground: Ground, batch_id: UUID, file_type: FileType) -> None:
    file = await export_codes(
        ground.runtime.database,
        ground.runtime.exports,
        caller=ground.caller,
        batch_id=batch_id,
        wanted=Wanted(file_type),
    )
    with file.content as content:
        while await asyncio.to_thread(content.read, PART_BYTES):
            pass


async def _copy(ground: Ground, batch_id: UUID) -> float:
    async def discard(_rows: bytes) -> None:
        pass

    statement = ROWS.replace("$1", f"'{batch_id}'")
    return await timed(partial(ground.bare.copy_from_query, statement, output=discard, format="csv"))


async def _bare(rows: Sequence[tuple[Any, ...]]) -> float:
    def write() -> None:
        with TemporaryFile() as target, Workbook(target, {"constant_memory": True}) as workbook:
            sheet = workbook.add_worksheet()
            for line, row in enumerate(rows):
                for place, cell in enumerate(row):
                    if cell is not None:
                        (sheet.write_number if place in NUMBERS else sheet.write_string)(line, place, cell)

    return await timed(partial(asyncio.to_thread, write))
