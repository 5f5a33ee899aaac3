import pytest

from qrtrack.domain.verification.keys import readings


@pytest.mark.parametrize("typed", ["ZR4K", "zr4k", " zr 4k ", "ZR-4K", "Zr–4k", "z r\t4\u00a0k"])
def test_case_blanks_and_hyphens_do_not_matter(typed: str) -> None:
    assert readings(typed) == ["ZR4K"]


def test_zero_and_o_and_one_and_i_are_read_as_one_another_the_typed_form_first() -> None:
    assert readings("a0i") == ["A0I", "A01", "AOI", "AO1"]
    assert readings("0O1I") == [
        "0O1I", "0OII", "0O11", "OO1I", "OOII", "OO11", "001I", "00II", "0011",
    ]  # fmt: skip
    assert max(len(readings(typed)) for typed in ("0O1I" * 16, "ZZZZ", "")) == 9


def test_text_beyond_ascii_is_no_other_key() -> None:
    """Upper-casing would turn a ligature or a long s into letters of a key."""
    assert readings("ſt4k") == ["ſt4k"]
    assert readings("\ud800") == ["\ud800"]
