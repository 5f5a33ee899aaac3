"""A worker's hold on one piece of queued work."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from qrtrack.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class Claim:
    """Work taken under a lease. `token` fences every later write; `exhausted`: its earlier attempts all died.

    `waited`: seconds since it was due; None where the lease of a worker that is gone was taken over.
    `asked_at`, in seconds of time.monotonic(), is no later than the moment from which the lease runs.
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
    def uuid(self) -> UUID:
        """The id of work whose table has UUIDs for keys."""
        assert isinstance(self.id, UUID)
        return self.id

    @property
    def number(self) -> int:
        """The id of work whose table is numbered."""
        assert isinstance(self.id, int)
        return self.id


class Piece(Protocol):
    """Columns of a small piece of work: `id`, `manufacturer_org_id`, and those that its queue carries."""

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Group:
    """Small pieces of work taken together, all for the first time, under one lease and one token. Each has beside its
    columns the seconds that it `waited`.
    """

    kind: str
    token: UUID
    pieces: Sequence[Piece]

    @property
    def id(self) -> str:
        """Its first piece and its last: all of them would be longer than a line of the log."""
        return "…".join(str(id_) for id_ in dict.fromkeys((self.pieces[0]["id"], self.pieces[-1]["id"])))


class LeaseLost(Conflict):
    """Somebody else holds the work now, or it was cancelled: stop at once, nothing more may be written."""

    slug = "lease-lost"
    title = "The work is no longer held"

    def __init__(self, held: Claim | Group) -> None:
        super().__init__(f"The {held.kind} {held.id} is no longer held by this worker.")


class Interrupted(Exception):
    """The worker was asked to stop, or its time was up."""


class PermanentFailure(Exception):
    """Trying again cannot help."""
