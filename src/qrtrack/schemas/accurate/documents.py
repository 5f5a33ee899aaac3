"""The newest known states of Accurate's documents."""

from typing import Annotated

from pydantic import Field

from qrtrack.schemas.base import DIGITS, Flag, Instant, ListQuery, Money, Page, Text, View
from qrtrack.schemas.cursors import LARGEST_ROW_ID, decode_cursor

DatabaseId = Annotated[int, DIGITS, Field(ge=0, le=LARGEST_ROW_ID, description="The id of a database of Accurate.")]


class DocumentQuery(ListQuery):
    """Filters of the list of documents."""

    type: Text | None = None
    database_id: DatabaseId | None = None
    deleted: Flag | None = None

    def after(self) -> tuple[int, str, str]:
        """Returns database, type and entity of the last document on the previous page. Raises InvalidInput."""
        return (-1, "", "") if self.cursor is None else decode_cursor(self.cursor, int, str, str)


class DocumentView(View):
    """The newest known state of an entity of Accurate. Database, type and entity id identify it."""

    database_id: int
    type: str
    entity_id: str = Field(description="For ITEM_QUANTITY: `item:warehouse`.")
    number: str | None
    action: str | None
    amount: Money | None
    timestamp: Instant = Field(
        validation_alias="event_at", description="The time of this state, as Accurate reports it."
    )
    deleted: bool
    queue_id: int = Field(validation_alias="event_id", description="The webhook event that reported it.")
    updated_at: Instant


class DocumentPage(Page):
    documents: list[DocumentView]
