"""The filters of lists. A field that is None does not filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class BatchSelection:
    """A filter of batches. `product_name` is a part of the name; upper and lower case match."""

    id: UUID | None = None
    order_id: UUID | None = None
    status: str | None = None
    product_name: str | None = None
    uniq_code: str | None = None
    closed: bool | None = None


@dataclass(frozen=True, slots=True)
class JobSelection:
    batch_id: UUID | None = None
    order_id: UUID | None = None
    status: str | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class JobGroup:
    """Jobs that are cancelled or retried together."""

    statuses: Sequence[str]
    batch_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class PackSelection:
    """A filter of packs. `actor`: the user who packed."""

    batch_id: UUID | None = None
    station: str | None = None
    actor: str | None = None
