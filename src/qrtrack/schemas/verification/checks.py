"""Checks of units, and redeeming them."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from qrtrack.domain.scans import SCAN_LIMIT
from qrtrack.domain.verification.checks import Purpose, Result
from qrtrack.schemas.base import ONE_LINE, Answer, Instant, Part, View
from qrtrack.services.verification.checks import Checked

Typed = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=ONE_LINE)]
"""What a consumer types."""
Scanned = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=SCAN_LIMIT, pattern=ONE_LINE)
]
"""What a consumer scans: a code, or the whole content of a symbol."""


class RedeemRequest(Part):
    """A unit, and its root key as the proof that the caller holds the unit."""

    uniq_code: Scanned = Field(description="The code in the address of the QR symbol: `/q/{uniq_code}`.")
    root_key: Typed = Field(description="As typed: case, blanks and hyphens do not matter.", examples=["zr4k"])
    code: Scanned | None = Field(
        None, description="The unit's code, if the symbol has one. Without it the key alone finds the unit."
    )


class VerifyRequest(RedeemRequest):
    """A check by a consumer; with `"purpose": "qc"` and an operator's token, a check by the plant."""

    purpose: Annotated[Purpose, Field(strict=False)] = Purpose.CONSUMER


class RecallText(View):
    """What the manufacturer says about the recall."""

    text_en: str
    text_id: str


class CheckedUnit(View):
    """More about the unit. Only a `qc` check returns it."""

    sequence_number: int
    status: Literal["generated", "printed", "packed", "scanned", "redeemed", "void"]
    master_code: str | None
    case_number: int | None
    printed_at: Instant | None
    scanned_at: Instant | None
    redeemed_at: Instant | None
    voided_at: Instant | None


class VerificationAnswer(Answer):
    """A wrong key and an unknown code only set `result`, `title` and `message`. All other fields are null."""

    result: Result
    title: str = Field(description="The result in the language of Accept-Language: English or Indonesian.")
    message: str = Field(description="A sentence for the consumer in that language.")
    code: str | None
    uniq_code: str | None
    product_name: str | None
    made_by: str | None = Field(
        description="The organisation's name from ORGANISATION_NAMES; null if it has none there."
    )
    lot: str | None
    expires_on: date | None
    check_count: int | None = Field(
        description="How often consumers have checked the unit. Includes this check if it counts."
    )
    first_checked_on: date | None
    redeemed_on: date | None
    recall: RecallText | None
    unit: CheckedUnit | None = Field(description="Null unless `purpose` is `qc`.")

    @classmethod
    def of(cls, checked: Checked | None, *, title: str, message: str, made_by: str | None, in_full: bool) -> Self:
        if checked is None:
            nothing: dict[str, Any] = dict.fromkeys(cls.model_fields.keys() - {"success", "result", "title", "message"})
            return cls(result=Result.UNKNOWN, title=title, message=message, **nothing)
        unit = checked.unit
        return cls(
            result=checked.result,
            title=title,
            message=message,
            code=unit.code,
            uniq_code=unit.uniq_code,
            product_name=unit.product_name,
            made_by=made_by,
            lot=unit.lot,
            expires_on=unit.expires_on,
            check_count=checked.check_count,
            first_checked_on=checked.first_checked_on,
            redeemed_on=checked.redeemed_on,
            recall=_recall_of(checked),
            unit=CheckedUnit.model_validate(unit) if in_full else None,
        )


def _recall_of(checked: Checked) -> RecallText | None:
    text_en, text_id = checked.unit.text_en, checked.unit.text_id
    return None if text_en is None or text_id is None else RecallText(text_en=text_en, text_id=text_id)
