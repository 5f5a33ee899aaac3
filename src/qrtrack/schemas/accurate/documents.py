"""The newest known states of Accurate's documents, as people read them."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from qrtrack.schemas.accurate.sources import DatabaseId
from qrtrack.schemas.base import Flag, Instant, ListQuery, Money, Page, Text, decode_cursor


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
