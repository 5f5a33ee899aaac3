"""Makes polls cheap: if the client already has the answer, it gets 304 without a body (RFC 9110, section 13)."""

import re
from hashlib import blake2b
from typing import Final

from fastapi import Request
from starlette.responses import Response

# Lists above this size are read once and not polled.
TAGGED_BYTES: Final = 64 * 1024
OPAQUE_TAG: Final = re.compile(r'"([^"]*)"')
# The client may keep the answer, but must ask each time whether it is current. Shared caches must not keep it.
CACHE_CONTROL: Final = "private, no-cache"


def revalidate(request: Request, answer: Response) -> Response:
    """Adds a weak ETag to the JSON answer of a GET. Returns 304 if `If-None-Match` contains that ETag."""
    body = getattr(answer, "body", b"")
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    # A streamed answer has no body yet. An answer with secrets says no-store, so no client may keep it.
    is_kept = is_json and "no-store" not in answer.headers.get("Cache-Control", "")
    if answer.status_code != 200 or not is_kept or not 0 < len(body) <= TAGGED_BYTES:
        return answer
    tag = blake2b(body, digest_size=12).hexdigest()
    headers = {"ETag": f'W/"{tag}"', "Cache-Control": CACHE_CONTROL, "Vary": "Authorization"}
    if has_already(request, tag):
        # A caller that found no place to wait must also get Retry-After with an unchanged answer.
        kept = {name: value for name, value in answer.headers.items() if name == "retry-after"}
        return Response(status_code=304, headers=headers | kept, background=answer.background)
    answer.headers.update(headers)
    return answer


def has_already(request: Request, tag: str) -> bool:
    """Returns whether `If-None-Match` contains the tag, weak or strong. `tag` has no quotes."""
    given = request.headers.getlist("If-None-Match")
    return any(value.strip() == "*" or tag in OPAQUE_TAG.findall(value) for value in given)
