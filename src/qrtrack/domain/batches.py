"""Refusals that concern any use of a batch."""

from uuid import UUID

from qrtrack.domain.errors import InvalidState, NotFound


class BatchNotReady(InvalidState):
    """The codes of the batch do not exist yet, or could not be created."""

    slug = "batch-not-ready"
    title = "The batch is not ready"

    def __init__(self, status: str) -> None:
        detail = (
            "The codes of this batch could not be created. Ask a manager to retry the batch."
            if status == "failed"
            else "The codes of this batch are still being created. Try again in a few seconds."
        )
        super().__init__(detail, status_of_batch=status)


def no_such_batch(batch_id: UUID) -> NotFound:
    return NotFound(f"There is no batch {batch_id} in your organisation.")
