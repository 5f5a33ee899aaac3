"""Refusals that concern any use of a batch."""

from qrtrack.domain.errors import InvalidState


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
