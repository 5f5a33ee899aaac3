"""A worker's hold on one piece of queued work."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from qrtrack.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class Claim:
    """Work taken under a lease. `token` fences every later write; `exhausted`: its earlier attempts all died.

    `waited`: seconds since it was due; None where the lease of a worker that is gone was taken over.
    `asked_at`, in seconds of time.monotonic(), is no later than the moment from which the lease runs.
    `carried` are the columns that its queue brings along, in their order.
    """

    kind: str
    id: UUID | int
    token: UUID
    organisation_id: UUID
    attempts: int
    exhausted: bool = False
    waited: float | None = 0
    asked_at: float = field(default_factory=time.monotonic, compare=False)
    carried: Sequence[Any] = field(default=(), compare=False, repr=False)

    @property
    def uuid(self) -> UUID:
        """The id of work whose table has UUIDs for keys."""
        assert isinstance(self.id, UUID)
        return self.id

    @property
    def number(self) -> int:
        """The id of work whose table is numbered."""
        assert isinstance(self.id, int)
        return self.id


class LeaseLost(Conflict):
    """Somebody else holds the work now, or it was cancelled: stop at once, nothing more may be written."""

    slug = "lease-lost"
    title = "The work is no longer held"

    def __init__(self, claim: Claim) -> None:
        super().__init__(f"The {claim.kind} {claim.id} is no longer held by this worker.")
        self.claim = claim


class Interrupted(Exception):
    """The worker was asked to stop, or its time was up."""


class PermanentFailure(Exception):
    """Trying again cannot help."""
