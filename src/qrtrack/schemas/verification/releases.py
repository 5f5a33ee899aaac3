"""Releasing batches for sale."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from qrtrack.schemas.base import Answer, Body, Instant, Moment


class ReleaseRequest(Body):
    """The time from which the batch is on sale."""

    model_config = ConfigDict(json_schema_extra={"example": {"at": "2031-01-31T00:00:00+07:00"}})

    at: Annotated[
        Moment | None, Field(description="Default: now. A time in the future releases the batch at that time.")
    ] = None


class BatchReleased(Answer):
    """The release as it is now."""

    batch_id: UUID
    requires_release: bool
    released_at: Instant
    released_by: str
