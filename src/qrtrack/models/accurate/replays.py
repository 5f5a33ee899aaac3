"""The record of each replay of webhook events."""

from typing import Any

from sqlalchemy import BigInteger, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Now, Table, TenantOwned


class WebhookReplay(TenantOwned, Table):
    """Who replayed events, when and why. `selection`: the filter, and the ids of the replayed events."""

    __tablename__ = "webhook_replays"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    replayed_at: Mapped[Now]
    actor: Mapped[str]
    reason: Mapped[str | None]
    selection: Mapped[dict[str, Any]] = mapped_column(JSONB)
    event_count: Mapped[int]
