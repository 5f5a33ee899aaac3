"""Requests that are no proper HTTP, over raw sockets against a real server, and bodies that are no proper JSON.

What a stranger may take in size and time stands in tests/test_http_limits.py.
"""

import json
import re
import socket

import httpx2
import pytest

from every_route import FOR_USERS, NO_THINGS
from process import SECRET
from security.conftest import Server

VOID = "/api/manufacturer/codes/void"
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
INNER = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def head(server: Server, *fields: bytes, line: bytes = b"POST %s HTTP/1.1" % VOID.encode()) -> bytes:
    token = f"Authorization: {server.signed_in['Authorization']}".encode()
    return b"\r\n".join([line, b"Host: x", token, b"Content-Type: application/json", *fields, b"", b""])


def told(server: Server, sent: bytes, *, ends: bool = False) -> bytes:
    """All that the server says until it closes. `ends`: the client is done, so a server that waits learns it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        return told_on(connection, sent, ends=ends)


def told_on(connection: socket.socket, sent: bytes, *, ends: bool = False) -> bytes:
    answer = b""
    try:
        connection.sendall(sent)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            answer += data
    except ConnectionError:
        # It closes while we still send: what came before counts.
        pass
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in STATUS.findall(answer)]


def is_refusal(answer: bytes) -> bool:
    """One answer, that of a problem, and the connection is closed."""
    first, _, body = answer.partition(b"\r\n\r\n")
    if not (len(statuses(answer)) == 1 and 400 <= statuses(answer)[0] < 500):
        return False
    return b"content-type: application/problem+json" in first and json.loads(body)["success"] is False


def test_answers_are_counted_rightly(server: Server) -> None:
    """Two requests in one go have two answers; all that is counted below rests on it."""
    two = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + INNER
    assert statuses(told(server, two)) == [200, 200]
    body = b'{"batch_id": "x"}'
    sound = head(server, b"Content-Length: %d" % len(body), b"Connection: close") + body
    assert statuses(told(server, sound)) == [422]


CHUNKED = b"0\r\n\r\n"
SMUGGLING = {
    "length and chunked": ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], CHUNKED),
    "chunked and length": ([b"Transfer-Encoding: chunked", b"Content-Length: 5"], CHUNKED),
    "a length that covers what is inside": (
        [b"Content-Length: %d" % (len(CHUNKED + INNER)), b"Transfer-Encoding: chunked"], CHUNKED,
    ),
    "two lengths": ([b"Content-Length: 2", b"Content-Length: 9"], b"{}"),
    "the same length twice": ([b"Content-Length: 2", b"Content-Length: 2"], b"{}"),
    "a list of lengths": ([b"Content-Length: 2, 9"], b"{}"),
    "a length with a sign": ([b"Content-Length: +2"], b"{}"),
    "a negative length": ([b"Content-Length: -2"], b"{}"),
    "a hexadecimal length": ([b"Content-Length: 0x2"], b"{}"),
    "a length in words": ([b"Content-Length: two"], b"{}"),
    "a length with a point": ([b"Content-Length: 2.0"], b"{}"),
    "a length in two parts": ([b"Content-Length: 2 2"], b"{}"),
    "a length beyond 64 bits": ([b"Content-Length: 18446744073709551618"], b"{}"),
    "an empty length": ([b"Content-Length:"], b"{}"),
    "an unknown encoding": ([b"Transfer-Encoding: xchunked"], CHUNKED),
    "an unknown encoding and a length": ([b"Transfer-Encoding: xchunked", b"Content-Length: 2"], b"{}"),
    "chunked, and then something else": ([b"Transfer-Encoding: chunked, identity"], CHUNKED),
    "two encodings": ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], CHUNKED),
    "an encoding after a blank": ([b"Transfer-Encoding : chunked", b"Content-Length: 2"], b"{}"),
    "an encoding after a tab": ([b"Transfer-Encoding\t: chunked", b"Content-Length: 2"], b"{}"),
    "an encoding after a line": ([b"Transfer-Encoding:\r\n chunked", b"Content-Length: 2"], b"{}"),
    "an encoding with a vertical tab": ([b"Transfer-Encoding: \x0bchunked", b"Content-Length: 2"], b"{}"),
    "an encoding behind a NUL": ([b"Transfer-Encoding: chunked\0", b"Content-Length: 2"], b"{}"),
    "an encoding behind a bare CR": ([b"X: y\rTransfer-Encoding: chunked", b"Content-Length: 2"], b"{}"),
    "a chunk of no size": ([b"Transfer-Encoding: chunked"], b"\r\n{}\r\n" + CHUNKED),
    "a chunk of size zz": ([b"Transfer-Encoding: chunked"], b"zz\r\n{}\r\n" + CHUNKED),
    "a chunk of negative size": ([b"Transfer-Encoding: chunked"], b"-2\r\n{}\r\n" + CHUNKED),
    "a chunk of size 0x2": ([b"Transfer-Encoding: chunked"], b"0x2\r\n{}\r\n" + CHUNKED),
    "a chunk of a size beyond 64 bits": ([b"Transfer-Encoding: chunked"], b"10000000000000002\r\n{}\r\n" + CHUNKED),
    "a chunk longer than told": ([b"Transfer-Encoding: chunked"], b"2\r\n{}{}\r\n" + CHUNKED),
    "a chunk's size behind a bare LF": ([b"Transfer-Encoding: chunked"], b"2\n{}\r\n" + CHUNKED),
    "a chunk's extension with a bare LF": ([b"Transfer-Encoding: chunked"], b"2;a=\nb\r\n{}\r\n" + CHUNKED),
}  # fmt: skip


@pytest.mark.parametrize("form", SMUGGLING)
def test_a_request_of_doubtful_length_gets_one_refusal_and_nothing_inside_it_is_read(server: Server, form: str) -> None:
    """A proxy before us may read another length; what follows is then another caller's request, or hidden from it."""
    fields, body = SMUGGLING[form]
    answer = told(server, head(server, *fields) + body + INNER)
    assert is_refusal(answer), answer
    assert server.is_well()


LINES = {
    "no address": b"GET HTTP/1.1", "nothing": b"", "HTTP/9": b"GET / HTTP/9.9",
    "HTTP/2": b"PRI * HTTP/2.0", "no version": b"GET /healthz HTTP/", "another protocol": b"GET /healthz SIP/2.0",
    "tabs": b"GET\t/healthz\tHTTP/1.1", "a small method": b"get /healthz HTTP/1.1",
    "an unknown method": b"BREW /healthz HTTP/1.1", "a method with NUL": b"GE\0T /healthz HTTP/1.1",
    "a long method": b"G" * 70_000 + b" / HTTP/1.1", "an address with NUL": b"GET /healthz\0 HTTP/1.1",
    "an address in Latin-1": b"GET /\xff\xfe HTTP/1.1", "an address with a bare CR": b"GET /a\rb HTTP/1.1",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1", "a mail server": b"EHLO evil.example",
    "a scheme without a host": b"GET http:// HTTP/1.1", "a host without its bracket": b"GET http://[::1/ HTTP/1.1",
    "a port that is none": b"GET http://evil.example:99999/ HTTP/1.1", "a host alone": b"GET evil.example HTTP/1.1",
    "a TLS greeting": bytes.fromhex("16030100a5010000a10303") + b"\x00\xff" * 80,
}  # fmt: skip
ODD_BUT_LEGAL = {
    "HTTP/0.9": b"GET /healthz",
    "two blanks": b"GET  /healthz HTTP/1.1",
    "absolute form": b"GET http://evil.example/healthz HTTP/1.1", "an asterisk": b"OPTIONS * HTTP/1.1",
    "HTTP/1.0": b"GET /healthz HTTP/1.0", "two slashes": b"GET //healthz HTTP/1.1", "NUL": b"GET /%00 HTTP/1.1",
    "upwards": b"GET /../../etc/passwd HTTP/1.1", "upwards, encoded": b"GET /%2e%2e%2f%2e%2e/etc/passwd HTTP/1.1",
    "half an encoding": b"GET /%f HTTP/1.1", "no UTF-8": b"GET /%ff%fe HTTP/1.1", "a fragment": b"GET /a#b HTTP/1.1",
    "a backslash": b"GET /\\..\\ HTTP/1.1", "only a query": b"GET /?a=%00&a[]=1&&&= HTTP/1.1",
    "HEAD": b"HEAD / HTTP/1.1",
    "TRACE": b"TRACE /healthz HTTP/1.1", "a tunnel to a path": b"CONNECT /healthz HTTP/1.1",
    "absolute form without a path": b"GET http://evil.example HTTP/1.1",
}  # fmt: skip
FIELDS = {
    "a name with NUL": b"X\0: y", "a value with NUL": b"X: a\0b", "a name with a blank": b"X Y: z", "no colon": b"XY",
    "no name": b": y", "a folded value": b"X: a\r\n b", "a bare CR": b"X: a\rb", "a name in Latin-1": b"X\xe9: y",
}  # fmt: skip


@pytest.mark.parametrize("form", LINES)
def test_a_line_that_is_no_request_gets_one_refusal(server: Server, form: str) -> None:
    sent = LINES[form] + b"\r\nHost: x\r\n\r\n"
    answer = told(server, sent, ends=True)
    # A blank line may stand before a request.
    assert is_refusal(answer) or form == "nothing", answer
    assert server.is_well()


@pytest.mark.parametrize("form", [form for form in LINES if form != "nothing"])
def test_a_line_that_is_no_request_gets_one_refusal_on_a_kept_connection_too(server: Server, form: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert statuses(connection.recv(65536)) == [200]
        assert is_refusal(told_on(connection, LINES[form] + b"\r\nHost: x\r\n\r\n", ends=True))
    assert server.is_well()


@pytest.mark.parametrize("form", ODD_BUT_LEGAL)
def test_an_odd_address_is_no_defect(server: Server, form: str) -> None:
    answer = told(server, ODD_BUT_LEGAL[form] + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert len(statuses(answer)) == 1, answer
    assert statuses(answer)[0] in (200, 307, 400, 404, 405), answer
    assert b"root:" not in answer


@pytest.mark.parametrize("form", FIELDS)
def test_a_field_that_is_none_gets_one_refusal(server: Server, form: str) -> None:
    answer = told(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + FIELDS[form] + b"\r\n\r\n")
    assert is_refusal(answer), answer
    assert server.is_well()


def test_bare_line_feeds_are_one_request_or_none(server: Server) -> None:
    answer = told(server, b"GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n" + INNER)
    assert len(statuses(answer)) == 1, answer
    assert statuses(answer)[0] in (200, 400)


def test_headers_beyond_64_kib_get_one_refusal(server: Server) -> None:
    for sent in (
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)) + b"\r\n",
    ):
        answer = told(server, sent + INNER)
        assert is_refusal(answer), answer[:500]
        assert statuses(answer) == [431]


def test_a_body_that_is_cut_short_is_no_request(server: Server) -> None:
    for cut in (
        head(server, b"Content-Length: 100") + b'{"batch_id": ',
        head(server, b"Transfer-Encoding: chunked") + b'64\r\n{"batch_id": ',
        head(server, b"Content-Length: 100"),
        b"POST /api/manufact",
    ):
        answer = told(server, cut, ends=True)
        assert all(400 <= status < 500 for status in statuses(answer)), answer
        assert server.is_well()


def test_an_expectation_is_met_before_the_body_is_sent(server: Server) -> None:
    body = b'{"batch_id": "x"}'
    asked = head(server, b"Expect: 100-continue", b"Content-Length: %d" % len(body), b"Connection: close")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(asked)
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(body)
        assert statuses(connection.recv(65536)) == [422]
    assert statuses(told(server, asked.replace(b"100-continue", b"a-miracle") + body))[-1] in (417, 422)


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0"])
def test_no_other_protocol_is_spoken(server: Server, protocol: bytes) -> None:
    asked = (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = told(server, asked, ends=True)
    assert all(status in (200, 400, 403, 404, 426) for status in statuses(answer)), answer
    assert len(statuses(answer)) <= 1
    assert server.is_well()


JSON = {"Content-Type": "application/json"}
BODIES = {
    "deep arrays": b"[" * 100_000, "deep objects": b'{"a":' * 50_000, "closed deep arrays": b"[" * 900 + b"]" * 900,
    "not a number": b'{"quantity": NaN}', "infinity": b'{"quantity": Infinity}', "less than that": b'{"a": -Infinity}',
    "too large a number": b'{"quantity": 1e400}', "a long number": b'{"quantity": ' + b"9" * 10_000 + b"}",
    "a key twice": b'{"reason": "a", "reason": "b"}', "a key twice, escaped": b'{"reason": "a", "\\u0072eason": "b"}',
    "invalid UTF-8": b'{"reason": "\xff\xfe"}', "overlong UTF-8": b'{"reason": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"reason": "\xed\xa0\x80"}', "a lone surrogate": b'{"reason": "\\ud800"}',
    "a lone low one": b'{"reason": "\\udc00x"}', "NUL": b'{"reason": "a\\u0000b"}', "a bare NUL": b'{"reason": "a\0b"}',
    "UTF-16": '{"reason": "a"}'.encode("utf-16"), "nothing": b"", "null": b"null", "a list": b"[]", "a text": b'"x"',
    "two documents": b"{}{}", "a comma too many": b'{"a": 1,}', "a comment": b"{/* */}", "single quotes": b"{'a': 1}",
    "compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "a prototype": b'{"__proto__": {"admin": true}}',
}  # fmt: skip
POSTS = [route for route in FOR_USERS if route.method == "POST" and not route.form]
BODY_MAY_BE_LEFT_OUT = {route.id for route in POSTS if route.body is None} | {
    "POST /api/accurate/events/{queue_id}/replay",
    "POST /api/manufacturer/batches/{batch_id}/release",
}


def is_problem(answer: httpx2.Response) -> bool:
    return (
        400 <= answer.status_code < 500
        and answer.headers["content-type"] == "application/problem+json"
        and answer.json()["success"] is False
    )


@pytest.mark.parametrize("form", BODIES)
def test_a_body_that_is_no_sound_json_is_a_problem_on_every_route(server: Server, form: str) -> None:
    for route in POSTS:
        answer = server.client.post(NO_THINGS(route.path), content=BODIES[form], headers=JSON)
        assert is_problem(answer), (route.id, answer.status_code, answer.text)
        if not (form in {"nothing", "null"} and route.id in BODY_MAY_BE_LEFT_OUT):
            assert answer.status_code in (400, 422), (route.id, answer.text)


@pytest.mark.parametrize("form", BODIES)
def test_a_webhook_that_is_no_sound_json_is_kept_or_refused(server: Server, form: str) -> None:
    token = {"X-Webhook-Token": SECRET}
    answer = server.client.post("/webhook/accurate", content=BODIES[form], headers=JSON | token)
    assert is_problem(answer) or answer.json()["queued"] == 0, answer.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Encoding", "gzip"), ("Content-Type", "application/json; charset=utf-7"),
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/xml"), ("Content-Type", "multipart/form-data"), ("Content-Type", "a/b/c;;;"),
    ],
)  # fmt: skip
def test_a_body_in_another_dress_is_a_problem(server: Server, name: str, value: str) -> None:
    for route in POSTS:
        if route.body is not None:
            answer = server.client.post(NO_THINGS(route.path), content=b"\x1f\x8b{}", headers=JSON | {name: value})
            assert is_problem(answer), (route.id, answer.status_code, answer.text)


def test_a_body_over_its_limit_is_413_announced_or_not(server: Server) -> None:
    large = b" " * (1024 * 1024 + 1)
    for route in POSTS:
        small = server.client.post(NO_THINGS(route.path), content=large, headers=JSON)
        pieces = server.client.post(NO_THINGS(route.path), content=iter([large]), headers=JSON)
        assert is_problem(small), route.id
        assert is_problem(pieces), route.id
        assert small.status_code == pieces.status_code, route.id
        assert small.status_code in (400, 413, 422), route.id
    announced = head(server, b"Content-Length: 99999999999")
    assert statuses(told(server, announced)) == [413]
