"""Webhook events as people read them, and their replays."""

from typing import Annotated, Literal

from pydantic import Field

from qrtrack.domain.accurate.forwarding import ForwardStatus
from qrtrack.domain.accurate.processing import EventStatus
from qrtrack.domain.accurate.replays import EventSelection
from qrtrack.domain.errors import FieldError, InvalidInput, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.schemas.accurate.documents import DatabaseId
from qrtrack.schemas.base import Answer, Body, Flag, Instant, ListQuery, Page, Reason, Text, View


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
    conflicts: Flag = Field(default=False, description="Only events whose uuid arrived again with other content.")

    def selection(self) -> EventSelection:
        """Returns the filter. Raises InvalidInput if the two names of the database contradict each other."""
        return EventSelection(
            status=self.status, type=self.type, database_id=self._database_id(), forward_status=self.forward_status
        )

    def _database_id(self) -> int | None:
        if self.database is not None and self.database_id not in {None, self.database}:
            detail = "It names another database than database_id: remove it."
            fields = {"fields": ["database_id", "database"]}
            error = FieldError("/query/database", detail, FieldCode.AT_MOST_ONE_OF, fields)
            raise InvalidInput("Name one database: database is the older name of database_id.", errors=[error])
        return self.database_id if self.database is None else self.database


class WebhookEventView(View):
    """One webhook event. `error_message`: why it is invalid, is dead or waits for a retry. `note`: why it was
    skipped, or what was ignored in it.
    """

    queue_id: int = Field(validation_alias="id")
    type: str
    database_id: int | None
    uuid: str | None
    status: EventStatus
    attempts: int
    error_message: str | None = Field(validation_alias="error")
    note: str | None
    forward_status: ForwardStatus | None = Field(
        description="The state of forwarding; null if the event is not forwarded, for example while forwarding is off."
    )
    forward_attempts: int
    forward_error_message: str | None = Field(validation_alias="forward_error")
    created_at: Instant
    updated_at: Instant
    finished_at: Instant | None


class WebhookEventPage(Page):
    events: list[WebhookEventView]


class ConflictView(View):
    """Other content that arrived under the same uuid. `times`: how often."""

    payload: str
    times: int
    created_at: Instant
    last_at: Instant


class ReplayView(View):
    replayed_at: Instant
    actor: str
    reason: str | None


class WebhookEventDetail(WebhookEventView):
    payload: str = Field(description="The JSON text as received; empty after its retention period.")


class WebhookEventAnswer(Answer):
    event: WebhookEventDetail
    conflicts: list[ConflictView]
    replays: list[ReplayView]


class ReplayOne(Body):
    """An optional body."""

    reason: Reason | None = None


class ReplayMany(Body):
    """Which events to replay, and why."""

    status: Literal["dead", "skipped", "done"] | None = Field(
        None, description="Required if `forward_status` is not sent. Default: all three."
    )
    type: Text | None = None
    database_id: DatabaseId | None = None
    forward_status: Annotated[ForwardStatus, Field(strict=False)] | None = Field(
        None, description="`dead`: events whose forwarding failed its last attempt."
    )
    reason: Reason | None = None
    dry_run: bool = Field(default=False, description="Counts the events that would be replayed, and changes nothing.")

    def selection(self) -> EventSelection:
        """Returns the filter. Raises InvalidInput if it has neither `status` nor `forward_status`."""
        if self.status is None and self.forward_status is None:
            fields = ["status", "forward_status"]
            raise invalid_field("/status", f"Send {' or '.join(fields)}.", FieldCode.AT_LEAST_ONE_OF, fields=fields)
        return EventSelection(
            status=self.status, type=self.type, database_id=self.database_id, forward_status=self.forward_status
        )


class ReplayedAnswer(Answer):
    replayed: int = Field(description="How many events were queued again.")
