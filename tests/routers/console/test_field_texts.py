"""What is wrong with a field is said in every language: by the code of the API's error."""

import re

from qrtrack.console.language import catalogue
from qrtrack.domain.field_codes import FieldCode

# No form of the console can cause these, or another section of the catalogue says them.
ELSEWHERE = {
    FieldCode.INVALID, FieldCode.UNKNOWN_FIELD, FieldCode.UNKNOWN_FIELDS, FieldCode.EXACTLY_ONE_OF,
    FieldCode.AT_MOST_ONE_OF, FieldCode.AT_LEAST_ONE_OF, FieldCode.REPEATED_KEY, FieldCode.NOT_PRINTABLE_ASCII,
    FieldCode.BAD_CURSOR, FieldCode.BAD_COMPANY_PREFIX, FieldCode.BAD_ACCOUNT, FieldCode.BAD_AMOUNT,
    FieldCode.BAD_REFERENCE, FieldCode.REFERENCE_SENT,
}  # fmt: skip


def test_every_code_that_a_form_can_cause_has_its_text() -> None:
    """The catalogues have the same keys and placeholders: test_console.py holds that."""
    texts = catalogue("en")
    for code in FieldCode:
        if code in ELSEWHERE or f"import_error.{code}" in texts or f"label_refusal.{code}" in texts:
            continue
        assert set(re.findall(r"\{(\w+)\}", texts[f"field.{code}"])) <= set(code.params), code


def test_the_texts_are_of_codes_that_exist() -> None:
    assert {key.removeprefix("field.") for key in catalogue("en") if key.startswith("field.")} <= set(FieldCode)
