"""The report of a day's dispatches."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
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
