"""Accurate's account host: keeping the webhook subscription alive."""

import json
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import httpx2

from qrtrack.domain.errors import UpstreamFailed
from qrtrack.logs import MASK

RENEW_PATH: Final = "/api/webhook-renew.do"
DATE: Final = "%d/%m/%Y"
ANSWER_LENGTH: Final = 200


async def renew_subscription(client: httpx2.AsyncClient, base_url: str, token: str, *, zone: ZoneInfo) -> date:
    """The new day of expiry. Raises UpstreamFailed for any answer that is not `s: true` with a future day."""
    try:
        answer = await client.post(f"{base_url}{RENEW_PATH}", headers={"Authorization": f"Bearer {token}"})
    except httpx2.HTTPError as error:
        raise UpstreamFailed(f"Accurate cannot be reached ({type(error).__name__}).") from error
    expires_on = _expiry(_parsed(answer.text)) if answer.is_success else None
    if expires_on is None or expires_on <= datetime.now(zone).date():
        # What it says is shown to those who watch: some hosts repeat what they were sent.
        said = answer.text.replace(token, MASK)[:ANSWER_LENGTH]
        raise UpstreamFailed(f"Accurate did not renew the subscription: it answered {answer.status_code} {said}")
    return expires_on


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _expiry(answer: Any) -> date | None:
    if not isinstance(answer, dict) or answer.get("s") is not True or not isinstance(answer.get("d"), str):
        return None
    try:
        return datetime.strptime(answer["d"], DATE).date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
