"""Cursors of lists: the sort key of the last row that a client has seen, as text that it does not interpret."""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode

LARGEST_ROW_ID: Final = 2**63 - 1

CursorValue: TypeAlias = int | str | UUID | datetime
CursorKind: TypeAlias = type[int] | type[str] | type[UUID] | type[datetime]


def encode_cursor(*values: CursorValue) -> str:
    """Encodes the sort key of a page's last row. Callers must not interpret it."""
    plain = [value if isinstance(value, int) else _as_text(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _as_text(value: str | UUID | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def decode_cursor(cursor: str, *kinds: CursorKind) -> tuple[Any, ...]:
    """Returns the values that `encode_cursor` was given, which must have these kinds in this order. Raises InvalidInput
    for any other text.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        return tuple(_revive(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        field = FieldError(
            "/query/cursor", "The cursor does not belong to this list: start without a cursor.", FieldCode.BAD_CURSOR
        )
        raise InvalidInput(
            "The cursor does not belong to this list: start without a cursor.", errors=[field]
        ) from error


def _revive(value: object, kind: CursorKind) -> CursorValue:
    if kind is int:
        if type(value) is not int or abs(value) > LARGEST_ROW_ID:
            raise ValueError
        return value
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    value.encode()  # JSON allows a lone surrogate. Encoding raises here, so that the database does not have to.
    if kind is datetime:
        return _instant(value)
    return UUID(value) if kind is UUID else value


def _instant(value: str) -> datetime:
    instant = datetime.fromisoformat(value)
    if instant.tzinfo is None:
        raise ValueError
    return instant.astimezone(UTC)
