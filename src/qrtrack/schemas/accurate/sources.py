"""The name of a source of events: a database of Accurate."""

from typing import Annotated

from pydantic import Field

from qrtrack.schemas.base import DIGITS, LARGEST_ROW_ID

DatabaseId = Annotated[int, DIGITS, Field(ge=0, le=LARGEST_ROW_ID, description="The id of a database of Accurate.")]
