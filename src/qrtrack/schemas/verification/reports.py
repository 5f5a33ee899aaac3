"""Reports by consumers."""

from typing import Annotated

from pydantic import Field, StringConstraints

from qrtrack.domain.verification.reports import ReportReason
from qrtrack.schemas.base import MANY_LINES, Answer, Part
from qrtrack.schemas.verification.checks import Typed

LONGEST_MESSAGE = 1000
Message = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_MESSAGE, pattern=MANY_LINES)]


class ReportRequest(Part):
    """What seems wrong with a product. No account and no name is needed."""

    uniq_code: Typed
    code: Typed | None = None
    reason: Annotated[ReportReason, Field(strict=False)]
    text: Message | None = Field(None, description="Free text, such as where the product was found.")


class ReportAnswer(Answer):
    """The report is kept."""
