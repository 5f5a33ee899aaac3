"""The options of exports of a batch or a reverse job."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from qrtrack.schemas.base import Flag, Query
from qrtrack.schemas.exports import CsvQuery


class CodesQuery(Query):
    """Optional columns."""

    reveal: Literal["root_key"] | None = Field(
        None, description="Adds the clear root keys; a trace event records who took them."
    )
    payload: Annotated[Flag, Field(description="Adds the content of each unit's QR symbol.")] = False


class CodesCsvQuery(CodesQuery, CsvQuery):
    """Optional columns, and how the CSV file is written."""


class PreparedQuery(Query):
    """The reverse job whose codes are exported."""

    job_id: UUID


class PreparedCsvQuery(PreparedQuery, CsvQuery):
    """The reverse job whose codes are exported, and how the CSV file is written."""
