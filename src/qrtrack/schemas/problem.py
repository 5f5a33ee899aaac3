"""The one shape of every refusal: `application/problem+json` (RFC 9457)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ProblemField(BaseModel):
    """One bad field of the request."""

    pointer: str = Field(
        description="JSON pointer into the body (`/exclude_codes/3`); what is not in the body begins with "
        "`/query`, `/path`, `/header` or `/cookie` (`/query/limit`)."
    )
    detail: str = Field(description="What is wrong with it.")
    row_number: int | None = Field(None, description="Of a transaction: its row, counted from 1.")
    reference: str | None = Field(None, description="Of a transaction: its referenceNumber as it was sent.")


class Problem(BaseModel):
    """Why the request was refused, and what to do about it. Some types carry more members than these."""

    model_config = ConfigDict(extra="allow")

    success: Literal[False]
    type: str = Field(description="Stable name of the refusal.", examples=["urn:qrtrack:problem:not-found"])
    title: str = Field(description="The kind of refusal, the same for every occurrence.")
    status: int = Field(description="The HTTP status, repeated.", ge=400, le=599)
    detail: str = Field(description="A sentence that says what to do.")
    errors: list[ProblemField] | None = Field(None, description="The bad fields, where the input is wrong.")
