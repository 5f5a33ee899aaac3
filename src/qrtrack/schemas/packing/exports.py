"""The options of exports of a batch or a reverse job."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from qrtrack.schemas.base import Flag, Query
from qrtrack.schemas.exports import CsvQuery


class CodesQuery(Query):
    """Columns that are not always exported."""

    reveal: Literal["root_key"] | None = Field(
        None, description="Adds the clear root keys; a trace event records who took them."
    )
    payload: Annotated[Flag, Field(description="Adds what the QR symbol of each unit says.")] = False


class CodesCsvQuery(CodesQuery, CsvQuery):
    """Columns that are not always exported, and how the CSV file is written."""


class PreparedQuery(Query):
    """Which job."""

    job_id: UUID


class PreparedCsvQuery(PreparedQuery, CsvQuery):
    """Which job, and how the CSV file is written."""
