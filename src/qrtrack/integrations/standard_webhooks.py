"""Sends one POST, signed per Standard Webhooks 1.0, and returns its result."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2
from standardwebhooks.webhooks import Webhook

SECONDS: Final = 15.0
LONGEST_WAIT: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of an attempt. `error` is None after a 2xx.

    `wait` has the seconds of the endpoint's `Retry-After`. `endpoint` says that the endpoint itself failed, so it would
    not take other messages now either.
    """

    error: str | None = None
    wait: float | None = None
    endpoint: bool = False


def signed_headers(signer: Webhook, message_id: str, payload: str) -> dict[str, str]:
    """Returns the headers of one attempt. The signature includes the time of the attempt."""
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(message_id, now, payload),
    }


async def post(
    client: httpx2.AsyncClient,
    url: httpx2.URL | str,
    payload: str,
    headers: Mapping[str, str],
    *,
    extensions: dict[str, Any] | None = None,
) -> Delivery:
    """Sends the message. Takes 15 s at most, and does not read the body of the answer. Raises ConnectError when nothing
    was sent.
    """
    try:
        async with (
            asyncio.timeout(SECONDS),
            client.stream(
                "POST", url, content=payload.encode(), headers=headers, timeout=SECONDS, extensions=extensions
            ) as answer,
        ):
            return _delivery(answer)
    except (TimeoutError, httpx2.TimeoutException):
        return Delivery(f"no answer within {SECONDS:.0f} s", endpoint=True)
    except httpx2.ConnectError:
        raise
    except httpx2.HTTPError as error:
        return Delivery(f"the connection to the endpoint failed ({type(error).__name__})", endpoint=True)


def _delivery(answer: httpx2.Response) -> Delivery:
    if answer.is_success:
        return Delivery()
    error = f"the endpoint answered {answer.status_code}"
    wait = _retry_after(answer.headers.get("Retry-After"))
    return Delivery(error, wait=wait, endpoint=wait is not None or not answer.is_client_error)


def _retry_after(value: str | None) -> float | None:
    """Returns the seconds to wait, from a number of seconds or an HTTP date."""
    if value is None:
        return None
    try:
        seconds = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 1.0), LONGEST_WAIT)
