"""Batches: what is asked for, and what can stand against using one."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from qrtrack.domain.errors import InvalidState


class BatchNotReady(InvalidState):
    """The codes of the batch are still being created, or could not be created."""

    slug = "batch-not-ready"
    title = "The batch is not ready"

    def __init__(self, status: str) -> None:
        detail = (
            "The codes of this batch could not be created. Ask a manager to retry the batch."
            if status == "failed"
            else "The codes of this batch are still being created. Try again in a few seconds."
        )
        super().__init__(detail, status_of_batch=status)


class BatchClosed(InvalidState):
    """The batch is closed: nothing of it can be packed any more."""

    slug = "batch-closed"
    title = "The batch is closed"

    def __init__(self, closed_at: datetime) -> None:
        super().__init__(
            f"This batch was closed on {closed_at:%Y-%m-%d %H:%M} UTC; nothing of it can be packed, moved or "
            "unpacked any more."
        )


class SerialMode(StrEnum):
    """How the codes of a batch come about."""

    SEQUENTIAL = "sequential"
    RANDOM = "random"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Variant:
    """Part of a batch that is packed apart from the others; None in a batch without variants."""

    variant: str | None
    quantity: int


@dataclass(frozen=True, slots=True)
class NewBatch:
    """An order for codes. The variants' quantities sum to the batch's."""

    order_id: UUID
    product_name: str
    serial_prefix: str
    serial_mode: SerialMode
    units_per_case: int
    variants: tuple[Variant, ...]
    gtin: str | None = None
    lot: str | None = None
    expires_on: date | None = None

    @property
    def quantity(self) -> int:
        return sum(variant.quantity for variant in self.variants)
