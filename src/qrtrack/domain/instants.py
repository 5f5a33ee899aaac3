"""Instants as text, in one form everywhere."""

from datetime import UTC, datetime


def rfc3339(instant: datetime) -> str:
    """Writes an instant in UTC with six digits of a second (`2026-11-22T03:04:05.678900Z`), so that the texts sort like
    the instants.
    """
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
