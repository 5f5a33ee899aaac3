"""Downloads: how CSV is written."""

from typing import Literal

from pydantic import Field

from qrtrack.schemas.base import Query


class CsvQuery(Query):
    """How the CSV file is written."""

    delimiter: Literal[",", ";"] = Field(
        ",",
        description="The character between two cells. Spreadsheets in Indonesia need `;`.",
    )
