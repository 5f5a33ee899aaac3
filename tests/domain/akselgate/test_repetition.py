"""Texts of refusals: those that may hide a payment, and those that say that nothing was taken."""

from typing import Any

import pytest

from gateway_words import NOT_TAKEN, SEEN_BEFORE
from qrtrack.domain.akselgate.repetition import says_repetition


def refused(text: str) -> dict[str, Any]:
    return {"responseCode": "99", "responseMessage": text}


@pytest.mark.parametrize("text", SEEN_BEFORE)
def test_a_refusal_that_mentions_an_earlier_request_is_a_repetition(text: str) -> None:
    assert says_repetition("99", refused(text), is_refusal=True)


@pytest.mark.parametrize("text", NOT_TAKEN)
def test_a_refusal_that_denies_an_earlier_request_is_no_repetition(text: str) -> None:
    assert not says_repetition("99", refused(text), is_refusal=True)


@pytest.mark.parametrize("code", ["94", "094", " 94 ", "94.0", "409", "4091801", "4090000", "A94", "E94"])
def test_known_codes_mean_repetition(code: str) -> None:
    assert says_repetition(code, {}, is_refusal=True)
    assert says_repetition(code, {}, is_refusal=False)


@pytest.mark.parametrize("code", [None, "", "00", "14", "940", "194", "140900"])
def test_other_codes_do_not_mean_repetition(code: str | None) -> None:
    assert not says_repetition(code, {}, is_refusal=True)


@pytest.mark.parametrize(
    "answer",
    [
        {"message": "Bad request", "errors": [{"detail": "reference already used"}]},
        {"message": "Bad request", "data": {"rows": [{"duplicate": True}]}},
        {"message": {"id": "Transaksi ganda", "en": "refused"}},
        {"message": "no", "code": "94"},
        {"message": "no", "rc": "RC94"},
        {"message": "no", "rc": "\u0669\u0664"},
        {"message": "no", "status": 409},
        {"message": "no", "code": "409-18-01"},
        {"message": "no", "isDuplicate": 1},
        {"message": "no", "isDuplicate": "true"},
        {"message": "no", "alreadyProcessed": {"requestId": "9"}},
        {"message": "no", "duplicateReferences": ["A1"]},
        {"message": "no", "errors": {"requestId": {"unique": "1"}}},
    ],
)
def test_a_repetition_is_found_in_any_member(answer: dict[str, Any]) -> None:
    assert says_repetition("99", answer, is_refusal=True)
    assert not says_repetition("99", {"message": "no", "duplicate": False, "processed": 0}, is_refusal=True)


def test_nesting_of_any_depth_is_read() -> None:
    answer: dict[str, Any] = {"message": "sudah ada"}
    for _ in range(50_000):
        answer = {"cause": answer}
    assert says_repetition(None, answer, is_refusal=True)


@pytest.mark.parametrize(
    "text", ["Transaksi telah diterima", "Request has been processed", "Sudah diterima", "金を受け取りました"]
)
def test_words_such_as_received_are_no_repetition_in_a_success(text: str) -> None:
    assert not says_repetition("00", refused(text), is_refusal=False)


@pytest.mark.parametrize("text", ["Duplicate request", "Already exists", "Transaksi ganda", "duplikat"])
def test_a_success_that_mentions_a_duplicate_is_a_repetition(text: str) -> None:
    assert says_repetition("00", refused(text), is_refusal=False)
