"""The report of a day's dispatches."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from qrtrack.database import Database
from qrtrack.domain.akselgate.exports import DAY, FIGURES, SETTLEMENT
from qrtrack.domain.exports import Column, FileType, file_name
from qrtrack.domain.identity import Caller
from qrtrack.exports import Cell, ExportedFile, Exports, Table, exported
from qrtrack.repositories.akselgate.reports import DayFigures


class DayReport(NamedTuple):
    date: date
    timezone: str
    settlements: Sequence[DayFigures]
    totals: DayFigures


async def report_day(database: Database, *, caller: Caller, day: date, timezone: str) -> DayReport:
    """Reports one day. It begins and ends at midnight in `timezone`."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        *settlements, totals = await repositories.reports.report_day(day, timezone)
    return DayReport(day, timezone, settlements, totals)


async def export_report(
    database: Database, exports: Exports, *, caller: Caller, day: date, timezone: str
) -> ExportedFile:
    """Exports the report: one sheet has a row for each settlement and type, another one the totals."""
    async with exports.lock(caller.organisation_id):
        report = await report_day(database, caller=caller, day=day, timezone=timezone)
        settlements = _table("settlements", (*SETTLEMENT, *FIGURES), report, report.settlements)
        totals = _table("totals", FIGURES, report, [report.totals])
        content = await exports.write_xlsx([settlements, totals])
    return exported(file_name("settlements", f"{day}", file_type=FileType.XLSX), content)


def _table(name: str, columns: Sequence[Column], report: DayReport, figures: Sequence[DayFigures]) -> Table:
    def row(of: DayFigures) -> list[Cell]:
        return [getattr(of, column.name) for column in columns]

    return Table(name, (*DAY, *columns), [[f"{report.date}", report.timezone, *row(of)] for of in figures])
