"""Reads the forms of the public page. Errors are shown on the page, since a browser sent the form."""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from fastapi import Request

from qrtrack.domain.verification.reports import ReportReason
from qrtrack.schemas.verification.reports import LONGEST_MESSAGE

MOST_BYTES: Final = 16 * 1024
MOST_FIELDS: Final = 10
ENCODED: Final = "application/x-www-form-urlencoded"
LONGEST_TYPED: Final = 64
# PostgreSQL refuses NUL. The other characters are invisible or change the direction of text, which misleads readers.
HIDDEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")


class Form(NamedTuple):
    """A check has a `root_key`, a report has a `reason`. Both are None if the form is incomplete or unreadable."""

    root_key: str | None = None
    reason: ReportReason | None = None
    message: str | None = None
    code: str | None = None


async def read_form(request: Request) -> Form:
    """Treats an unreadable form as an empty one."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            return Form()
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != ENCODED:
        return Form()
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return Form()
    return _form_of({name: HIDDEN.sub("", values[0]).strip() for name, values in fields.items()})


def _form_of(fields: dict[str, str]) -> Form:
    code = fields.get("code", "")[:LONGEST_TYPED] or None
    if fields.get("action") == "report":
        reason = fields.get("reason", "")
        if reason not in set(ReportReason):
            return Form()
        return Form(reason=ReportReason(reason), message=fields.get("message", "")[:LONGEST_MESSAGE] or None, code=code)
    return Form(root_key=fields.get("root_key", "")[:LONGEST_TYPED] or None)
