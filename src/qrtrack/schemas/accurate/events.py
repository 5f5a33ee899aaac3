"""Accurate's webhooks: what is answered to the sender, and the events and documents that people read."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from qrtrack.domain.accurate.events import EventStatus, ForwardStatus
from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.schemas.base import (
    DIGITS,
    LARGEST_ROW_ID,
    Answer,
    Body,
    Flag,
    Instant,
    ListQuery,
    Money,
    Page,
    Reason,
    Text,
    decode_cursor,
)

DatabaseId = Annotated[int, DIGITS, Field(ge=0, le=LARGEST_ROW_ID, description="The id of a database of Accurate.")]


class ReceivedElement(BaseModel):
    """One element of the request."""

    index: int = Field(description="Its place in the request, from 0.")
    queue_id: int = Field(description="The event's id; for a duplicate, that of the event that came first.")
    type: str
    uuid: str | None
    duplicate: bool = Field(description="An event with this uuid was there already; nothing is processed twice.")
    error_message: str | None = Field(description="Why the element is kept as invalid; null for an event.")


class ReceivedAnswer(Answer):
    """`queued + duplicates + invalid` is the number of elements; ids stand in the order of the request."""

    queued: int
    duplicates: int
    invalid: int
    queue_ids: list[int]
    results: list[ReceivedElement]


class EventQuery(ListQuery):
    """Filters of the list of events."""

    status: EventStatus | None = None
    type: Text | None = None
    uuid: Text | None = None
    database_id: DatabaseId | None = None
    database: DatabaseId | None = Field(
        None, description="The older name of `database_id`.", json_schema_extra={"deprecated": True}
    )
    forward_status: ForwardStatus | None = None

    @property
    def one_database(self) -> int | None:
        """Under either name. Raises InvalidInput where the two name different ones."""
        if self.database is not None and self.database_id not in {None, self.database}:
            detail = "It names another database than database_id: leave it out."
            fields = {"fields": ["database_id", "database"]}
            error = FieldError("/query/database", detail, FieldCode.AT_MOST_ONE_OF, fields)
            raise InvalidInput("Name one database: database is the older name of database_id.", errors=[error])
        return self.database_id if self.database is None else self.database

    def before_number(self) -> int | None:
        """The id of the last event seen. Raises InvalidInput."""
        return None if self.cursor is None else int(decode_cursor(self.cursor, int)[0])


class WebhookEventView(BaseModel):
    """`error_message`: why the event is invalid, dead or to be tried again; `note`: what of it could not be used."""

    queue_id: int = Field(validation_alias="id")
    type: str
    database_id: int | None
    uuid: str | None
    status: EventStatus
    attempts: int
    error_message: str | None = Field(validation_alias="error")
    note: str | None
    forward_status: ForwardStatus | None = Field(description="Whether it was passed on; null where nothing is.")
    forward_attempts: int
    forward_error_message: str | None = Field(validation_alias="forward_error")
    created_at: Instant
    updated_at: Instant
    finished_at: Instant | None


class WebhookEventPage(Page):
    events: list[WebhookEventView]


class ConflictView(BaseModel):
    """The same uuid with other content: what came then, and how often."""

    payload: str
    times: int
    created_at: Instant
    last_at: Instant


class ReplayView(BaseModel):
    replayed_at: Instant
    actor: str
    reason: str | None


class WebhookEventDetail(WebhookEventView):
    payload: str = Field(description="The JSON text as it came; empty once it is past its days.")


class WebhookEventAnswer(Answer):
    event: WebhookEventDetail
    conflicts: list[ConflictView]
    replays: list[ReplayView]


class ReplayOne(Body):
    """Why; may be left out."""

    reason: Reason | None = None


class ReplayMany(Body):
    """Which events, and why."""

    status: Literal["dead", "skipped", "done"]
    type: Text | None = None
    database_id: DatabaseId | None = None
    forward_status: Annotated[ForwardStatus, Field(strict=False)] | None = Field(
        None, description="`dead`: what was given up, and not passed on."
    )
    reason: Reason | None = None


class ReplayedAnswer(Answer):
    replayed: int = Field(description="How many events wait to be processed again.")


class DocumentQuery(ListQuery):
    """Filters of the list of documents."""

    type: Text | None = None
    database_id: DatabaseId | None = None
    deleted: Flag | None = None

    def after(self) -> tuple[int, str, str]:
        """Database, type and entity of the last document seen. Raises InvalidInput."""
        return (-1, "", "") if self.cursor is None else decode_cursor(self.cursor, int, str, str)

    def page_of(self, rows: Sequence[Any]) -> dict[str, Any]:
        """The members of a page out of `one_more` rows."""
        return self.page("documents", rows, lambda row: (row.database_id, row.type, row.entity_id))


class DocumentView(BaseModel):
    """The newest known state of an entity of Accurate, named by database, type and entity id."""

    database_id: int
    type: str
    entity_id: str = Field(description="Of ITEM_QUANTITY: item and warehouse, with a colon between them.")
    number: str | None
    action: str | None
    amount: Money | None
    timestamp: Instant = Field(validation_alias="event_at", description="When it was so, by Accurate.")
    deleted: bool
    queue_id: int = Field(validation_alias="event_id", description="The webhook event that said so.")
    updated_at: Instant


class DocumentPage(Page):
    documents: list[DocumentView]
