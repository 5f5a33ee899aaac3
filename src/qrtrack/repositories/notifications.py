"""Notifications to send. Database triggers insert them in the transaction that ends the job or batch, or records the
alert or report.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

GET_NOTIFICATION: Final = """
SELECT id, subject, subject_id, channel, address, content, created_at
FROM notifications
WHERE id = :id
"""


class StoredNotification(NamedTuple):
    id: int
    subject: str
    subject_id: UUID
    channel: str
    address: str
    content: Mapping[str, Any]
    created_at: datetime


class NotificationRepository(Repository):
    async def get(self, notification_id: int) -> StoredNotification:
        return await self._fetch_one(StoredNotification, GET_NOTIFICATION, id=notification_id)
