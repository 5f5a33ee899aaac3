"""New batches, and the refusals of batches that cannot be packed."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from qrtrack.domain.errors import InvalidState


class BatchClosed(InvalidState):
    """The batch is closed: its units can no longer be packed."""

    slug = "batch-closed"
    title = "The batch is closed"

    def __init__(self, closed_at: datetime) -> None:
        super().__init__(
            f"This batch was closed on {closed_at:%Y-%m-%d %H:%M} UTC: its units can no longer be packed, moved or "
            "unpacked."
        )


class SerialMode(StrEnum):
    """How the serials of a batch are chosen."""

    SEQUENTIAL = "sequential"
    RANDOM = "random"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Variant:
    """How many codes of a batch are of one variant; None in a batch without variants."""

    variant: str | None
    quantity: int


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be created. The quantities of its variants sum to its quantity."""

    order_id: UUID
    product_name: str
    serial_prefix: str
    serial_mode: SerialMode
    units_per_case: int
    variants: tuple[Variant, ...]
    gtin: str | None = None
    lot: str | None = None
    expires_on: date | None = None
    requires_release: bool = False

    @property
    def quantity(self) -> int:
        return sum(variant.quantity for variant in self.variants)
