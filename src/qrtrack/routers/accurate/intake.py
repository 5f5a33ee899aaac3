"""The endpoint that Accurate calls. It answers after the events are committed."""

import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from prometheus_client import Counter
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response

from qrtrack.domain.accurate.intake import MOST_ELEMENTS, MOST_VALUES, TooManyElements, UnreadableBody
from qrtrack.domain.errors import Forbidden, Unauthenticated, Unavailable
from qrtrack.postgresql.outages import DatabaseRefused, DatabaseUnavailable
from qrtrack.routers.bodies import StrictRoute, TooManyValues, read_counted
from qrtrack.routers.body_limits import LARGE_BODY_BYTES, LONGEST_BODY, body_limit
from qrtrack.routers.client_addresses import client_address
from qrtrack.routers.http_problems import BODY_TOO_LARGE, INVALID_JSON, INVALID_LENGTH
from qrtrack.routers.problems import problems
from qrtrack.runtime import Runtime
from qrtrack.schemas.accurate.intake import ReceivedAnswer, ReceivedElement
from qrtrack.services.accurate.intake import Receipt, log_receipts, receive_events
from qrtrack.settings import Settings

PATH: Final = "/webhook/accurate"
BEARER: Final = "bearer "
EVENT: Final = {"type": "object", "additionalProperties": True}
EVENTS: Final = {"type": "array", "items": EVENT, "maxItems": MOST_ELEMENTS}

ELEMENTS: Final = Counter(
    "qrtrack_webhook_elements", "Elements of Accurate's requests, by how they were stored", ["as"]
)
QUEUED, DUPLICATES, INVALID, CONFLICTS = map(ELEMENTS.labels, ("queued", "duplicates", "invalid", "conflicts"))
UNREADABLE: Final = Counter("qrtrack_webhook_unreadable_bodies", "Requests of Accurate whose body was not JSON")

OVERSIZED: Final = Counter(
    "qrtrack_webhook_oversized_bodies",
    "Requests of Accurate with too many elements or values, of which nothing was kept",
)

ANSWERED: Final = tuple(ReceivedElement.model_fields)

encode: Final = json.JSONEncoder(separators=(",", ":")).encode

log = structlog.get_logger()
router = APIRouter(route_class=StrictRoute, tags=["webhooks"])


class AddressNotAllowed(Forbidden):
    """The service does not accept webhooks from this address."""

    slug = "address-not-allowed"
    title = "Address not allowed"


def check_caller(request: Request, settings: Settings) -> None:
    """Checks token and address, as far as they are configured. If neither is configured, only development accepts
    requests, and only from loopback. Raises Unavailable, AddressNotAllowed or Unauthenticated.
    """
    tokens, networks = settings.webhook_tokens, settings.webhook_networks
    address = client_address(request, settings.trusted_proxies)
    if not tokens and not networks:
        # Behind a tunnel or an unconfigured proxy, the peer is loopback although the caller is elsewhere.
        unnamed_proxy = not settings.trusted_proxies and "X-Forwarded-For" in request.headers
        is_here = address is not None and address.is_loopback and not unnamed_proxy
        if settings.qrtrack_env == "production" or not is_here:
            raise Unavailable(
                "Webhooks are switched off: set ACCURATE_WEBHOOK_TOKEN or ACCURATE_ALLOWED_IPS on the server."
            )
        return
    if networks and (address is None or not any(address in network for network in networks)):
        raise AddressNotAllowed(
            "Webhooks are not accepted from this address: add it to ACCURATE_ALLOWED_IPS, or correct TRUSTED_PROXIES."
        )
    if tokens and not _is_one_of(_tokens_given(request), tokens):
        raise Unauthenticated("Send the webhook token in X-Webhook-Token, `Authorization: Bearer` or ?token=.")


def _tokens_given(request: Request) -> list[bytes]:
    headers = [request.headers.get("X-Webhook-Token", "")]
    authorization = request.headers.get("Authorization", "")
    if authorization.lower().startswith(BEARER):
        headers.append(authorization[len(BEARER) :].strip())
    # Starlette decodes headers as Latin-1. Encoding them again restores the sent bytes.
    return [request.query_params.get("token", "").encode(), *(header.encode("latin-1") for header in headers)]


def _is_one_of(given: Sequence[bytes], valid: Sequence[bytes]) -> bool:
    """Compares every pair, also after a match, so that the time reveals nothing."""
    matches = [hmac.compare_digest(one, other) for one in given for other in valid]
    return any(matches)


@router.post(
    PATH,
    summary="Receive webhooks",
    response_model=ReceivedAnswer,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [EVENTS, EVENT]}}},
        },
        "security": [{"WebhookToken": []}],
    },
    responses=problems(
        INVALID_JSON,
        INVALID_LENGTH,
        BODY_TOO_LARGE,
        Unauthenticated,
        AddressNotAllowed,
        Unavailable,
        DatabaseUnavailable,
        DatabaseRefused,
    ),
)
@body_limit(LARGE_BODY_BYTES)
async def receive_webhooks(request: Request) -> Response:
    """Takes an array of events, or one event, and answers after the commit. A repeated `uuid` gets the id of its first
    event. An element that is not an event is stored as invalid; the other elements are queued. A request with more than
    16 MiB, 10,000 elements or 1,000,000 values is refused with 413, and nothing of it is stored.
    """
    # FastAPI's dependencies are not used here: resolving them takes longer than storing an event.
    runtime: Runtime = request.state.runtime
    check_caller(request, runtime.settings)
    async with runtime.bodies.reserve(PATH, request.scope[LONGEST_BODY]):
        receipts = await _receive(runtime, request)
    return Response(
        encode(_answer(receipts)), media_type="application/json", background=BackgroundTask(log_receipts, receipts)
    )


async def _receive(runtime: Runtime, request: Request) -> Sequence[Receipt]:
    body = b""
    try:
        body = await read_counted(request.stream(), MOST_VALUES)
        return await receive_events(
            runtime.database,
            body,
            owners=runtime.settings.database_owners,
            forward=runtime.forwarder is not None,
            wake=runtime.webhook_wake_ups.due(),
        )
    except UnreadableBody as error:
        UNREADABLE.inc()
        log.warning("the body of a webhook is not JSON: nothing of it was stored", bytes=len(body), reason=str(error))
        raise HTTPException(400) from error
    except (TooManyElements, TooManyValues) as error:
        OVERSIZED.inc()
        log.warning("the body of a webhook has too many elements or values: nothing of it was stored")
        raise HTTPException(413) from error


def _answer(receipts: Sequence[Receipt]) -> dict[str, Any]:
    counts = {
        "queued": sum(receipt.queued for receipt in receipts),
        "duplicates": sum(receipt.duplicate for receipt in receipts),
        "invalid": sum(receipt.error_message is not None for receipt in receipts),
    }
    QUEUED.inc(counts["queued"])
    DUPLICATES.inc(counts["duplicates"])
    INVALID.inc(counts["invalid"])
    CONFLICTS.inc(sum(receipt.conflict for receipt in receipts))
    return {
        "success": True,
        **counts,
        "queue_ids": [receipt.queue_id for receipt in receipts],
        "results": [{name: getattr(receipt, name) for name in ANSWERED} for receipt in receipts],
    }
