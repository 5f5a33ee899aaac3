"""The record of each replay of webhook events."""

from typing import Any

from sqlalchemy import BigInteger, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class WebhookReplay(TenantOwned, Table):
    """Who had events processed again, when and why. `selection` is the filter, or the id of the one event."""

    __tablename__ = "webhook_replays"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    replayed_at: Mapped[Now]
    actor: Mapped[str]
    reason: Mapped[str | None]
    selection: Mapped[dict[str, Any]] = mapped_column(JSONB)
    event_count: Mapped[int]
