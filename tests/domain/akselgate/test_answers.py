import pytest

from qrtrack.domain.akselgate.answers import judge
from qrtrack.domain.akselgate.attempts import AttemptOutcome

REFUSALS = (400, 401, 403, 404, 413, 415, 422, 429)
UNCLEAR = (202, 204, 206, 402, 405, 408, 409, 410, 500, 502, 503, 504)
NO_JSON_OBJECT = (b"", b"OK", b"[]", b'"x"', b"null", b'{"a":', b"\xff\0", b"[" * 99999)
READABLE = b'{"responseCode": "A1", "responseMessage": "no"}'
NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        *[(status, b'{"data": {}}', AttemptOutcome.ACCEPTED) for status in (200, 201)],
        *[(status, READABLE, AttemptOutcome.REJECTED) for status in REFUSALS],
        *[(status, body, AttemptOutcome.UNKNOWN) for status in REFUSALS for body in (b"", b"<html>", b"{}")],
        *[(status, b"", AttemptOutcome.REJECTED) for status in (307, 308)],
        *[(status, body, AttemptOutcome.UNKNOWN) for status in (300, 301, 302, 303, 304) for body in (b"", READABLE)],
        *[(status, READABLE, AttemptOutcome.UNKNOWN) for status in UNCLEAR],
        *[(200, body, AttemptOutcome.UNKNOWN) for body in NO_JSON_OBJECT],
        (400, b'{"message": "Duplicate request"}', AttemptOutcome.UNKNOWN),
        (200, b'{"responseCode": "00", "error": "DUPLICATE"}', AttemptOutcome.UNKNOWN),
    ],
)
def test_status_and_body_decide_the_outcome(status: int, body: bytes, outcome: AttemptOutcome) -> None:
    verdict = judge(status, body, NOTHING)
    assert verdict.outcome is outcome
    assert verdict.status_code == str(status)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("00", AttemptOutcome.ACCEPTED), ("05", AttemptOutcome.UNKNOWN), (None, AttemptOutcome.UNKNOWN)],
)
def test_only_listed_success_codes_are_accepted(code: str | None, outcome: AttemptOutcome) -> None:
    body = b"{}" if code is None else f'{{"responseCode": "{code}"}}'.encode()
    assert judge(200, body, frozenset({"00", "01"})).outcome is outcome


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"responseCode": "1", "responseMessage": "a", "message": "b"}', ("1", "a")),
        (b'{"message": "b", "error": "c"}', (None, "b")),
        (b'{"error": "c"}', (None, "c")),
        (b'{"error": {"code": 7}}', (None, '{"code": 7}')),
        (b'{"responseCode": 5}', ("5", None)),
        (b'{"message": "\\ud800\\u0000"}', (None, "\\ud800\\x00")),
    ],
)
def test_code_and_message_are_found_in_any_known_member(body: bytes, words: tuple[str | None, ...]) -> None:
    verdict = judge(400, body, NOTHING)
    assert (verdict.response_code, verdict.response_message) == words


def test_any_bytes_of_a_body_are_stored_whole() -> None:
    assert judge(200, b"a\0\xff" + b"x" * 200_000, NOTHING).response_payload == "a\\x00\\xff" + "x" * 200_000


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ('\ufeff{"message": "Rekening é – salah"}'.encode(), None),
        ('\ufeff{"message": "Rekening é – salah"}'.encode(), "utf-8"),
        ('{"message": "Rekening é – salah"}'.encode("cp1252"), "windows-1252"),
        ('{"message": "Rekening é – salah"}'.encode("utf-16"), None),
        ('{"message": "Rekening é – salah"}'.encode("utf-16-le"), "utf-16-le"),
        ('{"message": "Rekening é – salah"}'.encode(), "us-ascii"),
        ('{"message": "Rekening é – salah"}'.encode(), "no-such-charset"),
        ('{"message": "Rekening é – salah"}'.encode(), "hex"),
    ],
)
def test_an_answer_is_read_in_any_charset(body: bytes, charset: str | None) -> None:
    verdict = judge(400, body, NOTHING, charset=charset)
    assert (verdict.outcome, verdict.response_message) == (AttemptOutcome.REJECTED, "Rekening é – salah")
    assert verdict.response_payload == '{"message": "Rekening é – salah"}'


def test_iso_8859_1_is_read_even_where_no_charset_is_named() -> None:
    verdict = judge(201, '{"message": "é"}'.encode("iso-8859-1"), NOTHING)
    assert (verdict.outcome, verdict.response_message) == (AttemptOutcome.ACCEPTED, "é")


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("member", ["responseCode", "responseMessage"])
def test_an_answer_with_a_repeated_member_is_unknown(status: int, member: str) -> None:
    body = f'{{"responseCode": "00", "{member}": "a", "{member}": "b"}}'.encode()
    assert judge(status, body, NOTHING).outcome is AttemptOutcome.UNKNOWN
