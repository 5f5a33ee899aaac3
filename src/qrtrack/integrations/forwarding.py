"""Forwarding webhook events to the owner's own system."""

import httpx2
from standardwebhooks.webhooks import Webhook

from qrtrack.integrations.standard_webhooks import Delivery, post, signed_headers


class Forwarder:
    """One endpoint. Its address is the owner's own setting, so a private one is fine."""

    def __init__(self, client: httpx2.AsyncClient, url: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._signer = Webhook(secret)

    async def send(self, event_id: int, payload: str) -> Delivery:
        """The whole exchange within 15 seconds. The id is the same in every attempt, the signature is not."""
        headers = signed_headers(self._signer, f"accurate-event-{event_id}", payload)
        try:
            return await post(self._client, self._url, payload, headers)
        except httpx2.ConnectError as error:
            return Delivery(f"the endpoint cannot be reached ({type(error).__name__})", endpoint=True)
