"""Claims: a worker's lease on one piece, or on one group, of queued work."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from qrtrack.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class Claim:
    """Work claimed under a lease. `token` is the fencing token of every later write.

    `exhausted` says that no attempt is left: the worker of the last one stopped answering. `waited` is how many seconds
    the work had been due, or None if an expired lease was taken over. `asked_at` is time.monotonic() before the claim,
    and so before the lease began.
    """

    kind: str
    id: UUID | int
    token: UUID
    organisation_id: UUID
    attempts: int
    exhausted: bool = False
    waited: float | None = 0
    asked_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def size(self) -> int:
        return 1

    @property
    def uuid(self) -> UUID:
        """The id, in tables with UUID keys."""
        assert isinstance(self.id, UUID)
        return self.id

    @property
    def number(self) -> int:
        """The id, in tables with bigint keys."""
        assert isinstance(self.id, int)
        return self.id


PieceT = TypeVar("PieceT", bound=NamedTuple)
PieceT_co = TypeVar("PieceT_co", bound=NamedTuple, covariant=True)


@dataclass(frozen=True, slots=True)
class Group(Generic[PieceT_co]):
    """Small pieces of work that were claimed together under one lease, each for its first attempt.

    `id` names the first and the last piece: a log line has no room for all of them. `waited` is how many seconds the
    oldest piece had been due.
    """

    kind: str
    id: str
    token: UUID
    waited: float
    pieces: Sequence[PieceT_co]

    @property
    def size(self) -> int:
        return len(self.pieces)


Held: TypeAlias = Claim | Group[NamedTuple]
"""What a worker holds under a lease."""


class LeaseLost(Conflict):
    """Another worker has claimed the work, or the work has ended otherwise, for example by a cancellation. Stop: every
    further write is refused.
    """

    slug = "lease-lost"
    title = "The work is no longer held"

    def __init__(self, held: Held) -> None:
        super().__init__(f"The {held.kind} {held.id} is no longer held by this worker.")


class Interrupted(Exception):
    """The worker must stop, or its time is up. The work goes back to the queue."""


class PermanentFailure(Exception):
    """A failure that would happen again at each retry: the work fails without another attempt."""
