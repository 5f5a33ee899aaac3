"""The answer to a dry run of an action on everything that matches a filter."""

from typing import Literal

from pydantic import Field

from qrtrack.domain.matching import MOST_COUNTED
from qrtrack.schemas.base import Answer


class MatchingAnswer(Answer):
    """How many things the action would change now. Nothing was changed."""

    dry_run: Literal[True] = True
    matching: int = Field(ge=0, le=MOST_COUNTED, description="The count stops at 10,000.")
    more: bool = Field(description="There are more than `matching`.")
