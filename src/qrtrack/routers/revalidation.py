"""Polls that cost little: an answer that the client has already is 304 without a body (RFC 9110, section 13)."""

import re
from hashlib import blake2b
from typing import Final

from fastapi import Request
from starlette.responses import Response

# Lists of this size are read once and not polled.
TAGGED_BYTES: Final = 64 * 1024
OPAQUE_TAG: Final = re.compile(r'"([^"]*)"')
# The client may keep the answer, but asks each time; caches on the way, which serve others too, keep nothing.
CACHE_CONTROL: Final = "private, no-cache"


def revalidate(request: Request, answer: Response) -> Response:
    """The JSON answer of a GET with a weak ETag of its text, or 304 where `If-None-Match` names that."""
    body = getattr(answer, "body", b"")
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    # What is streamed has no body yet. What holds secrets says no-store, and no client shall keep it.
    is_kept = is_json and "no-store" not in answer.headers.get("Cache-Control", "")
    if answer.status_code != 200 or not is_kept or not 0 < len(body) <= TAGGED_BYTES:
        return answer
    tag = blake2b(body, digest_size=12).hexdigest()
    headers = {"ETag": f'W/"{tag}"', "Cache-Control": CACHE_CONTROL, "Vary": "Authorization"}
    if has_already(request, tag):
        # Said to whoever found no place to wait: it holds for an unchanged answer too.
        kept = {name: value for name, value in answer.headers.items() if name == "retry-after"}
        return Response(status_code=304, headers=headers | kept, background=answer.background)
    answer.headers.update(headers)
    return answer


def has_already(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names the tag, weak or strong; `tag` without its quotes."""
    given = request.headers.getlist("If-None-Match")
    return any(value.strip() == "*" or tag in OPAQUE_TAG.findall(value) for value in given)
