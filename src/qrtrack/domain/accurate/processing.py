"""Processing of webhook events: their new states, and the newest state of each document."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.accurate.documents import DocumentState, Reading


class EventStatus(StrEnum):
    """`skipped`: no handler knows the type. `unassigned`: no organisation owns the database yet."""

    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    SKIPPED = "skipped"
    INVALID = "invalid"
    UNASSIGNED = "unassigned"
    DEAD = "dead"


class ClaimedEvent(NamedTuple):
    """An event that a worker has claimed. `payload` is None when it is too long to be claimed with its group."""

    id: int
    manufacturer_org_id: UUID
    type: str
    database_id: int
    created_at: datetime
    forward_status: str | None
    payload: str | None

    @property
    def stream(self) -> tuple[UUID, int, str]:
        """Organisation, database and type. Events of one stream are forwarded in order."""
        return self.manufacturer_org_id, self.database_id, self.type


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """A claimed event and its content. `reading` is None when no handler knows the type."""

    event: ClaimedEvent
    reading: Reading | None

    @property
    def status(self) -> EventStatus:
        return EventStatus.SKIPPED if self.reading is None else EventStatus.DONE

    @property
    def note(self) -> str | None:
        return "no handler knows this type" if self.reading is None else self.reading.note


class NewestState(NamedTuple):
    """The state of one document, and the event that reported it."""

    event: ClaimedEvent
    state: DocumentState

    @property
    def document(self) -> tuple[UUID, int, str, str]:
        return *self.event.stream, self.state.entity_id

    @property
    def age(self) -> tuple[datetime, int]:
        """Returns a key that orders the states of one document: the larger key is newer."""
        return self.state.event_at, self.event.id


def newest_states(read: Iterable[ReadEvent]) -> Sequence[NewestState]:
    """Returns the newest state of each document among these events."""
    newest: dict[tuple[UUID, int, str, str], NewestState] = {}
    for event, reading in ((one.event, one.reading) for one in read if one.reading is not None):
        for state in reading.states:
            found = NewestState(event, state)
            known = newest.get(found.document)
            if known is None or known.age <= found.age:
                newest[found.document] = found
    return list(newest.values())


def last_heard(read: Iterable[ReadEvent]) -> Mapping[tuple[int, str], datetime]:
    """Returns when the latest of these events arrived, for each database and type."""
    latest: dict[tuple[int, str], datetime] = {}
    for one in read:
        source, received_at = (one.event.database_id, one.event.type), one.event.created_at
        latest[source] = max(received_at, latest.get(source, received_at))
    return latest
