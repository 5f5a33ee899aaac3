"""Accurate's webhook events: the list, one event, and replays. Replaying calls the JSON API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from starlette.responses import RedirectResponse, Response

from qrtrack.console.access import ConsoleRoute, Replayer
from qrtrack.console.json_text import MOST_CHARACTERS, indented
from qrtrack.domain.accurate.documents import TYPES
from qrtrack.domain.accurate.forwarding import ForwardStatus
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.domain.accurate.replays import EventSelection
from qrtrack.schemas.base import ONE_LINE, RowId
from qrtrack.schemas.cursors import LARGEST_ROW_ID
from qrtrack.services.accurate.replays import REPLAYABLE, EventInFull, view_event

router = APIRouter(route_class=ConsoleRoute, prefix="/console/webhooks", include_in_schema=False)

PAGE: Final = 50
CONFLICTS: Final = "conflicts"
NOT_FORWARDED: Final = "not_forwarded"
# `unassigned` is left out: an unassigned event belongs to no organisation, so no visitor sees it.
SHOWN: Final = (
    EventStatus.DEAD, CONFLICTS, NOT_FORWARDED, EventStatus.PENDING, EventStatus.PROCESSING, EventStatus.DONE,
    EventStatus.SKIPPED, EventStatus.INVALID,
)  # fmt: skip
TONES: Final[Mapping[str, str]] = {
    "processing": "busy", "done": "good", "skipped": "warn", "invalid": "bad", "dead": "bad",
}  # fmt: skip

Shown = Literal["", "dead", "conflicts", "not_forwarded", "pending", "processing", "done", "skipped", "invalid"]
Words = Annotated[str, Query(max_length=255, pattern=ONE_LINE)]
EventId = Annotated[RowId, Path()]
Before = Annotated[RowId | None, Query()]


class EventFilter(NamedTuple):
    """The filter in the address of the list."""

    status: str
    type: str
    find: str

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in self._asdict().items() if value})

    def selection(self) -> EventSelection:
        is_state = self.status in set(EventStatus)
        return EventSelection(
            status=self.status if is_state else None,
            type=self.type or None,
            database_id=None,
            forward_status=ForwardStatus.DEAD if self.status == NOT_FORWARDED else None,
        )

    @property
    def replay(self) -> Mapping[str, str] | None:
        """Returns the body of the API's replay request for this filter. None if the API cannot select these events."""
        if self.find or not (self.status in REPLAYABLE or self.status == NOT_FORWARDED):
            return None
        wanted = {"forward_status": ForwardStatus.DEAD} if self.status == NOT_FORWARDED else {"status": self.status}
        return wanted | ({"type": self.type} if self.type else {})


@router.get("")
async def show_events(
    visitor: Replayer,
    status: Shown = "",
    kind: Annotated[Words, Query(alias="type")] = "",
    find: Words = "",
    before: Before = None,
) -> Response:
    """Lists the events. If no event has the searched text as its uuid, and the text is a number, redirects to the event
    with that id.
    """
    wanted = EventFilter(status, kind.strip().upper(), find.strip())
    listed = await _events(visitor, wanted, before)
    if not listed["events"] and (event_id := _id_in(wanted.find)):
        return RedirectResponse(f"/console/webhooks/{event_id}", 303)
    return visitor.page("webhooks.html", shown=SHOWN, types=sorted(TYPES), **listed)


@router.get("/now")
async def show_events_now(
    visitor: Replayer, status: Shown = "", kind: Annotated[Words, Query(alias="type")] = "", find: Words = ""
) -> Response:
    return visitor.page("webhooks_now.html", **await _events(visitor, EventFilter(status, kind, find), None))


def _id_in(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) < len(str(LARGEST_ROW_ID))
    return int(text) or None if is_number else None


async def _events(visitor: Replayer, wanted: EventFilter, before: int | None) -> dict[str, Any]:
    async with visitor.read() as repositories:
        events = await repositories.webhook_replays.page(
            wanted.selection(),
            uuid=wanted.find or None,
            conflicts=wanted.status == CONFLICTS,
            before=before,
            limit=PAGE + 1,
        )
    more = events[PAGE - 1].id if len(events) > PAGE else None
    return {"events": events[:PAGE], "wanted": wanted, "before": before, "more": more, "tones": TONES}


@router.get("/{event_id}")
async def show_event(visitor: Replayer, event_id: EventId) -> Response:
    found = await view_event(visitor.database, caller=visitor.caller, event_id=event_id)
    return visitor.page("webhook.html", indented=indented, most=MOST_CHARACTERS, **_event(found))


@router.get("/{event_id}/now")
async def show_event_now(visitor: Replayer, event_id: EventId) -> Response:
    found = await view_event(visitor.database, caller=visitor.caller, event_id=event_id)
    return visitor.page("webhook_now.html", **_event(found))


def _event(found: EventInFull) -> dict[str, Any]:
    event = found.event
    return {
        "event": event,
        "conflicts": found.conflicts,
        "history": _history(found),
        "tones": TONES,
        "may_replay": event.status in REPLAYABLE and bool(event.payload),
    }


class Step(NamedTuple):
    """One line of an event's history: its time, the key of its text, and the values in the text."""

    at: datetime
    key: str
    facts: Mapping[str, Any]


def _history(found: EventInFull) -> list[Step]:
    event = found.event
    steps = [Step(event.created_at, "received", {})]
    steps += [Step(replay.replayed_at, "replayed", replay._asdict()) for replay in found.replays]
    steps += [Step(conflict.last_at, "conflicted", {"times": conflict.times}) for conflict in found.conflicts]
    if event.finished_at:
        steps.append(Step(event.finished_at, f"ended_{event.status}", {"attempts": event.attempts}))
    return sorted(steps, key=lambda step: step.at)
