"""Sends webhook events to ACCURATE_FORWARD_URL."""

import httpx2
from standardwebhooks.webhooks import Webhook

from qrtrack.integrations.standard_webhooks import Delivery, post, signed_headers


class Forwarder:
    """Sends to ACCURATE_FORWARD_URL. Private addresses are allowed, since the operator configured this one."""

    def __init__(self, client: httpx2.AsyncClient, url: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._signer = Webhook(secret)

    async def send(self, event_id: int, payload: str) -> Delivery:
        """Sends one event. `webhook-id` is the same in every attempt, so that the receiver can drop repeats."""
        headers = signed_headers(self._signer, f"accurate-event-{event_id}", payload)
        try:
            return await post(self._client, self._url, payload, headers)
        except httpx2.ConnectError as error:
            return Delivery(f"the connection to the endpoint failed ({type(error).__name__})", endpoint=True)
