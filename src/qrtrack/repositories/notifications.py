"""Notifications on their way. Nothing here adds one: that is the triggers' work (see the migration)."""

from typing import Any

from sqlalchemy import Row

from qrtrack.repositories.base import Repository


class NotificationRepository(Repository):
    async def get(self, notification_id: int) -> Row[Any]:
        return await self._row(
            "SELECT id, subject, subject_id, channel, address, content, created_at FROM notifications WHERE id = :id",
            id=notification_id,
        )
