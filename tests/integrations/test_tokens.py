import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from qrtrack.domain.errors import Forbidden, Unauthenticated, Unavailable
from qrtrack.domain.identity import Role
from qrtrack.integrations import tokens
from qrtrack.integrations.http import http_client
from qrtrack.integrations.tokens import KeySet, TokenVerifier, sign_token
from qrtrack.settings import Settings
from ticking import HANG_SECONDS

SECRET = "q8Zr4vLx0TnB7mWcYd2HsKfJp6GuEa9R"
ORGANISATION = UUID("0190a000-0000-7000-8000-00000000000a")
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


class JwksServer:
    """A real HTTP server with a key set; counts the fetches, and can fail or be slow."""

    def __init__(self) -> None:
        self.keys: list[Any] = [rsa_jwk("rsa-1"), ec_jwk("ec-1")]
        self.body: bytes | None = None
        self.status = 200
        self.fetches = 0
        self.asked_again = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetches += 1
                if outer.fetches > 1:
                    outer.asked_again.set()
                outer.gate.wait(HANG_SECONDS)
                self.send_response(outer.status)
                self.send_header("Location", "/elsewhere")
                # A client that has had enough hangs up in the middle.
                with contextlib.suppress(OSError):
                    self.end_headers()
                    self.wfile.write(outer.body or json.dumps({"keys": outer.keys}).encode())

            def log_message(self, *_args: object) -> None:
                """The test's output stays quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"


def rsa_jwk(kid: str, key: rsa.RSAPrivateKey = RSA_KEY, **extra: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **extra}


def ec_jwk(kid: str, **extra: Any) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": kid, "alg": "ES256", **extra}


@contextlib.contextmanager
def serving_keys() -> Iterator[JwksServer]:
    server = JwksServer()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.gate.set()
    server.server.shutdown()
    server.server.server_close()
    thread.join()


@pytest.fixture
def jwks() -> Iterator[JwksServer]:
    with serving_keys() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with http_client(timeout=HANG_SECONDS) as client:
        yield client


@pytest.fixture
def shared(client: httpx2.AsyncClient) -> TokenVerifier:
    return verifier(client, jwt_secret=SECRET)


def verifier(client: httpx2.AsyncClient, **settings: Any) -> TokenVerifier:
    return TokenVerifier(Settings(_env_file=None, **settings), client)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; a change to None leaves the claim out."""
    good = {
        "sub": "user-1",
        "manufacturer_org_id": str(ORGANISATION),
        "roles": ["operator"],
        "exp": datetime.now(UTC) + timedelta(hours=1),
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET, "HS256")


def signed_by_rsa(kid: str | None = "rsa-1", **changes: Any) -> str:
    return jwt.encode(claims(**changes), RSA_KEY, "RS256", headers={"kid": kid} if kid else None)


def forged(header: dict[str, Any], payload: dict[str, Any], secret: bytes) -> str:
    """An HMAC token made by hand, since PyJWT refuses to sign with a public key."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)]
    signature = hmac.digest(secret, b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def plain_claims() -> dict[str, Any]:
    return claims(exp=int(datetime.now(UTC).timestamp()) + 3600)


async def test_a_token_of_the_command_line_signs_in_the_named_user(shared: TokenVerifier) -> None:
    token = sign_token(SECRET, organisation_id=ORGANISATION, user_id="u", roles=[Role.MANAGER, Role.FINANCE], hours=1)
    caller = await shared.verify(token)
    assert caller.user_id == "u"
    assert caller.organisation_id == ORGANISATION
    assert caller.roles == {Role.MANAGER, Role.FINANCE}


async def test_a_supabase_token_works_unchanged(shared: TokenVerifier) -> None:
    metadata = {"provider": "email", "manufacturer_org_id": str(ORGANISATION), "roles": ["admin"]}
    token = signed(
        manufacturer_org_id=None, roles=None, aud="authenticated", role="authenticated", app_metadata=metadata
    )
    caller = await shared.verify(token)
    assert caller.organisation_id == ORGANISATION
    assert caller.roles == {Role.ADMIN}


@pytest.mark.parametrize(
    ("roles", "known"),
    [
        ("manager", {Role.MANAGER}),
        (["operator", "pope", 7, None, ["admin"]], {Role.OPERATOR}),
        ({"admin": True}, set()),
        ([], set()),
        (None, set()),
    ],
)
async def test_unknown_roles_are_ignored(shared: TokenVerifier, roles: Any, known: set[Role]) -> None:
    assert (await shared.verify(signed(roles=roles))).roles == known


async def test_user_metadata_gives_no_role(shared: TokenVerifier) -> None:
    assert (await shared.verify(signed(roles=None, user_metadata={"roles": ["admin"]}))).roles == set()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"exp": datetime.now(UTC) - timedelta(seconds=1)}, "expired"),
        ({"exp": None}, "lacks the claim exp"),
        ({"exp": "tomorrow"}, "not valid"),
        ({"nbf": datetime.now(UTC) + timedelta(hours=1)}, "not valid yet"),
        ({"nbf": "soon"}, "not valid"),
        ({"nbf": math.inf}, "not valid"),
        ({"nbf": math.nan}, "not valid"),
        ({"exp": math.inf}, "not valid"),
        ({"exp": -math.inf}, "not valid"),
        ({"exp": [1]}, "not valid"),
        ({"sub": None}, "lacks the claim sub"),
        ({"sub": ""}, "no usable user"),
        ({"sub": "  "}, "no usable user"),
        ({"sub": "x" * 256}, "no usable user"),
        ({"sub": "nul\0"}, "no usable user"),
        ({"sub": "\ud800"}, "no usable user"),
    ],
)
async def test_a_token_with_bad_claims_is_refused(
    shared: TokenVerifier, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Unauthenticated, match=sentence):
        await shared.verify(signed(**changes))


async def test_the_clock_of_the_issuer_may_be_a_few_seconds_ahead(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    """One second ahead turned everybody away; five are taken, for `nbf` and `iat` alike, whoever signed."""
    both = verifier(client, jwt_secret=SECRET, jwt_jwks_url=jwks.url)
    now = time.time()
    for ahead in ({"nbf": now + 1}, {"iat": now + 1}, {"nbf": int(now) + 4, "iat": int(now) + 4}, {"iat": now + 60}):
        assert (await both.verify(signed(**ahead))).user_id == "user-1"
        assert (await both.verify(signed_by_rsa(**ahead))).user_id == "user-1"


async def test_more_than_a_few_seconds_ahead_is_not_valid_yet(shared: TokenVerifier) -> None:
    with pytest.raises(Unauthenticated, match="not valid yet"):
        await shared.verify(signed(nbf=time.time() + 60))


async def test_an_expiry_has_no_leeway(shared: TokenVerifier) -> None:
    for ago in (0, 1, 4):
        with pytest.raises(Unauthenticated, match="expired"):
            await shared.verify(signed(exp=int(time.time()) - ago))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "....",
        "é.é.é",
        "\ud800",
        "x" * 20_000,
        "W10.W10.W10",
        f"{base64.urlsafe_b64encode(b'[' * 3000).decode()}.e30.",
        jwt.encode({"sub": "u"}, "another-secret-another-secret-another", "HS256"),
    ],
)
async def test_the_refusal_of_a_foreign_token_does_not_repeat_it(shared: TokenVerifier, token: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        await shared.verify(token)
    assert len(token) < 5 or token not in refusal.value.detail


async def test_a_cached_token_expires_to_the_second(shared: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    expires = int(time.time()) + 50
    token = signed(exp=expires)
    known = await shared.verify(token)
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: expires - 0.01))
    assert await shared.verify(token) is known
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: float(expires)))
    with pytest.raises(Unauthenticated, match="expired"):
        await shared.verify(token)


async def test_a_clock_set_back_does_not_extend_the_cache(
    shared: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed()
    known = await shared.verify(token)
    an_hour_ago = time.time() - 3600
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: an_hour_ago))
    again = await shared.verify(token)
    assert again is not known
    assert await shared.verify(token) is again


async def test_the_token_cache_is_bounded(shared: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "KNOWN_TOKENS", 2)
    sent = [signed(sub=f"user-{number}") for number in range(4)]
    for token in [*sent, *sent]:
        await shared.verify(token)
    assert list(shared._known) == sent[2:]


async def test_a_changed_token_is_refused(shared: TokenVerifier) -> None:
    header, payload, signature = signed().split(".")
    _, other, _ = signed(roles=["admin"]).split(".")
    assert other != payload
    with pytest.raises(Unauthenticated):
        await shared.verify(f"{header}.{other}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
async def test_an_unsigned_token_is_refused(client: httpx2.AsyncClient, jwks: JwksServer, algorithm: str) -> None:
    token = forged({"alg": algorithm, "typ": "JWT", "kid": "rsa-1"}, plain_claims(), b"")
    for bare in (token, token.rsplit(".", 1)[0] + "."):
        with pytest.raises(Unauthenticated):
            await verifier(client, jwt_secret=SECRET, jwt_jwks_url=jwks.url).verify(bare)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_only_the_one_shared_secret_algorithm_is_taken(shared: TokenVerifier, algorithm: str) -> None:
    with pytest.raises(Unauthenticated, match="does not accept"):
        await shared.verify(jwt.encode(claims(), SECRET * 4, algorithm))


@pytest.mark.parametrize(
    ("setting", "claim"), [("jwt_audience", "aud"), ("jwt_issuer", "iss")], ids=["audience", "issuer"]
)
async def test_audience_and_issuer_are_checked_where_set(client: httpx2.AsyncClient, setting: str, claim: str) -> None:
    strict = verifier(client, jwt_secret=SECRET, **{setting: "qrtrack"})
    assert (await strict.verify(signed(**{claim: "qrtrack"}))).user_id == "user-1"
    with pytest.raises(Unauthenticated, match="another service"):
        await strict.verify(signed(**{claim: "other"}))
    with pytest.raises(Unauthenticated, match=f"lacks the claim {claim}"):
        await strict.verify(signed())


async def test_a_token_of_the_command_line_passes_a_strict_server(client: httpx2.AsyncClient) -> None:
    token = sign_token(SECRET, organisation_id=ORGANISATION, user_id="u", roles=[], hours=1, audience="a", issuer="i")
    assert (await verifier(client, jwt_secret=SECRET, jwt_audience="a", jwt_issuer="i").verify(token)).user_id == "u"


@pytest.mark.parametrize(
    ("claim", "top", "metadata"),
    [
        ("manufacturer_org_id", str(ORGANISATION), "0190b000-0000-7000-8000-00000000000b"),
        ("manufacturer_org_id", str(ORGANISATION), "not-a-uuid"),
        ("manufacturer_org_id", "", str(ORGANISATION)),
        ("roles", ["operator"], ["admin"]),
        ("roles", ["admin"], ["operator"]),
        ("roles", [], ["admin"]),
        ("roles", ["admin"], []),
        ("roles", "admin", ["admin", "operator"]),
    ],
)
async def test_a_token_that_contradicts_itself_is_refused(
    shared: TokenVerifier, claim: str, top: Any, metadata: Any
) -> None:
    with pytest.raises(Forbidden, match=f"claim {claim} twice") as refusal:
        await shared.verify(signed(**{claim: top}, app_metadata={claim: metadata}))
    assert refusal.value.slug == "contradicting-claims"


async def test_a_token_that_says_the_same_twice_is_taken(shared: TokenVerifier) -> None:
    metadata = {"manufacturer_org_id": str(ORGANISATION).upper(), "roles": ["pope", "operator"]}
    caller = await shared.verify(signed(roles=["operator", "operator"], app_metadata=metadata))
    assert caller.organisation_id == ORGANISATION
    assert caller.roles == {Role.OPERATOR}


@pytest.mark.parametrize("organisation", [None, "", "not-a-uuid", 7, ["x"]])
async def test_a_token_without_organisation_is_known_but_refused(shared: TokenVerifier, organisation: Any) -> None:
    with pytest.raises(Forbidden, match="belongs to no organisation"):
        await shared.verify(signed(manufacturer_org_id=organisation, app_metadata="odd"))


async def test_rs256_and_es256_are_checked_with_the_published_keys(
    client: httpx2.AsyncClient, jwks: JwksServer
) -> None:
    published = verifier(client, jwt_jwks_url=jwks.url)
    assert (await published.verify(signed_by_rsa())).user_id == "user-1"
    token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "ec-1"})
    assert (await published.verify(token)).user_id == "user-1"
    assert jwks.fetches == 1


async def test_a_token_without_key_id_is_taken_while_one_key_fits(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    assert (await verifier(client, jwt_jwks_url=jwks.url).verify(signed_by_rsa(kid=None))).user_id == "user-1"
    jwks.keys.append(rsa_jwk("rsa-2"))
    with pytest.raises(Unauthenticated):
        await verifier(client, jwt_jwks_url=jwks.url).verify(signed_by_rsa(kid=None))


async def test_a_public_key_is_no_shared_secret(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    public = RSA_KEY.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwks.keys[0]).encode(),
    ):
        token = forged({"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}, plain_claims(), secret)
        for settings in ({}, {"jwt_secret": SECRET}):
            with pytest.raises(Unauthenticated):
                await verifier(client, jwt_jwks_url=jwks.url, **settings).verify(token)


async def test_a_key_serves_only_the_algorithm_of_its_type(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "rsa-1"})
    with pytest.raises(Unauthenticated, match="does not publish"):
        await verifier(client, jwt_jwks_url=jwks.url).verify(token)


async def test_a_key_of_somebody_else_is_refused(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    jwks.keys = [rsa_jwk("rsa-1", rsa.generate_private_key(65537, 2048))]
    with pytest.raises(Unauthenticated):
        await verifier(client, jwt_jwks_url=jwks.url).verify(signed_by_rsa())


async def test_unusable_entries_of_a_key_set_are_ignored(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    jwks.keys = [
        "odd",
        {"kty": ["RSA"], "kid": "rsa-1"},
        {"kty": "oct", "kid": "rsa-1", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()},
        {"kty": "RSA", "kid": "rsa-1", "n": "!", "e": 3},
        rsa_jwk("rsa-1", weak),
        rsa_jwk("rsa-1", use="enc"),
        rsa_jwk("rsa-1", alg="RS512"),
        {**RSAAlgorithm.to_jwk(RSA_KEY, as_dict=True), "kid": "rsa-1"},
    ]
    strict = verifier(client, jwt_jwks_url=jwks.url)
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weakly_signed = jwt.encode(claims(), weak, "RS256", headers={"kid": "rsa-1"})
    for token in (signed_by_rsa(), weakly_signed):
        with pytest.raises(Unauthenticated, match="does not publish"):
            await strict.verify(token)


async def test_without_published_keys_their_algorithms_are_refused(shared: TokenVerifier) -> None:
    with pytest.raises(Unauthenticated, match="does not accept"):
        await shared.verify(signed_by_rsa())


async def test_without_shared_secret_its_algorithm_is_refused(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    with pytest.raises(Unauthenticated, match="does not accept"):
        await verifier(client, jwt_jwks_url=jwks.url).verify(signed())
    assert jwks.fetches == 0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_an_unknown_key_id_fetches_at_most_once_in_thirty_seconds(
    client: httpx2.AsyncClient, jwks: JwksServer
) -> None:
    clock = Clock()
    keys = KeySet(jwks.url, client, clock)
    await keys.find("rsa-1", "RS256")
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await keys.find(str(uuid4()), "RS256")
    assert jwks.fetches == 1

    jwks.keys.append(rsa_jwk("rsa-2"))
    clock.now += 30
    assert (await keys.find("rsa-2", "RS256")).key_id == "rsa-2"
    assert jwks.fetches == 2


async def test_simultaneous_callers_share_one_fetch(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    keys = KeySet(jwks.url, client)
    found = await asyncio.gather(*(keys.find("rsa-1", "RS256") for _ in range(20)))
    assert {key.key_id for key in found} == {"rsa-1"}
    assert jwks.fetches == 1


async def test_known_keys_outlive_an_identity_system_that_is_away(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    clock = Clock()
    keys = KeySet(jwks.url, client, clock)
    await keys.find("rsa-1", "RS256")
    jwks.status = 500
    clock.now += tokens.KEY_SET_AGE_SECONDS + 1
    assert (await keys.find("rsa-1", "RS256")).key_id == "rsa-1"
    assert jwks.fetches == 2
    with pytest.raises(Unavailable):
        await keys.find("rsa-2", "RS256")
    assert jwks.fetches == 2


async def test_an_hour_without_the_identity_system_ends_the_trust_in_its_keys(
    client: httpx2.AsyncClient, jwks: JwksServer
) -> None:
    clock = Clock()
    keys = KeySet(jwks.url, client, clock)
    await keys.find("rsa-1", "RS256")
    jwks.status = 500
    for _ in range(2):
        clock.now += 30 * 60
        assert (await keys.find("rsa-1", "RS256")).key_id == "rsa-1"
    clock.now += 1
    for _ in range(2):
        with pytest.raises(Unavailable, match="could not be fetched"):
            await keys.find("rsa-1", "RS256")
    jwks.status = 200
    clock.now += tokens.REFETCH_SECONDS
    assert (await keys.find("rsa-1", "RS256")).key_id == "rsa-1"


async def test_an_untrusted_key_is_refused_during_a_refresh(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    clock = Clock()
    keys = KeySet(jwks.url, client, clock)
    await keys.find("rsa-1", "RS256")
    clock.now += tokens.KEY_SET_TRUSTED_SECONDS + 1
    jwks.keys = [rsa_jwk("rsa-2")]
    jwks.gate.clear()
    both = [asyncio.create_task(keys.find("rsa-1", "RS256")) for _ in range(2)]
    await asyncio.to_thread(jwks.asked_again.wait, HANG_SECONDS)
    jwks.gate.set()
    assert [type(found) for found in await asyncio.gather(*both, return_exceptions=True)] == [Unauthenticated] * 2


async def test_a_withdrawn_key_signs_nobody_in_after_six_minutes(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    """Five until the set is fetched again, and one in which a token is known."""
    assert tokens.KEY_SET_AGE_SECONDS + tokens.KNOWN_SECONDS == 360
    verifier_ = verifier(client, jwt_jwks_url=jwks.url)
    assert verifier_._keys is not None
    verifier_._keys._clock = clock = Clock()
    token = signed_by_rsa()
    await verifier_.verify(token)
    jwks.keys = [rsa_jwk("rsa-2")]
    clock.now += 301
    verifier_._known[token] = (verifier_._known[token][0], time.time() - 1)
    with pytest.raises(Unauthenticated):
        await verifier_.verify(token)


async def test_a_withdrawn_key_is_forgotten_in_time(client: httpx2.AsyncClient, jwks: JwksServer) -> None:
    clock = Clock()
    keys = KeySet(jwks.url, client, clock)
    await keys.find("rsa-1", "RS256")
    jwks.keys = [rsa_jwk("rsa-2")]
    clock.now += tokens.KEY_SET_AGE_SECONDS + 1
    with pytest.raises(Unauthenticated):
        await keys.find("rsa-1", "RS256")


async def test_a_request_with_a_trusted_key_does_not_wait_for_a_refresh(
    client: httpx2.AsyncClient, jwks: JwksServer
) -> None:
    clock = Clock()
    keys = KeySet(jwks.url, client, clock)
    await keys.find("rsa-1", "RS256")
    clock.now += tokens.KEY_SET_AGE_SECONDS + 1
    jwks.gate.clear()
    slow = asyncio.create_task(keys.find("rsa-1", "RS256"))
    await asyncio.to_thread(jwks.asked_again.wait, HANG_SECONDS)
    async with asyncio.timeout(HANG_SECONDS):
        assert (await keys.find("rsa-1", "RS256")).key_id == "rsa-1"
    assert not slow.done()
    jwks.gate.set()
    assert (await slow).key_id == "rsa-1"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (302, b"{}"),
        (200, b"not json"),
        (200, b"[]"),
        (200, b'{"keys": {}}'),
        (200, b"[" * 100_000),
        (200, b" " * 300_000),
    ],
)
async def test_an_unreadable_key_set_is_unavailable(
    client: httpx2.AsyncClient, jwks: JwksServer, status: int, body: bytes
) -> None:
    jwks.status, jwks.body = status, body
    with pytest.raises(Unavailable, match="identity system"):
        await verifier(client, jwt_jwks_url=jwks.url).verify(signed_by_rsa())


async def test_an_identity_system_that_does_not_listen_is_unavailable(client: httpx2.AsyncClient) -> None:
    with pytest.raises(Unavailable, match="identity system"):
        await verifier(client, jwt_jwks_url="http://127.0.0.1:9/jwks.json").verify(signed_by_rsa())


async def test_an_identity_system_that_hangs_is_unavailable_soon(
    client: httpx2.AsyncClient, jwks: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "FETCH_SECONDS", 0.1)
    jwks.gate.clear()
    with pytest.raises(Unavailable):
        await verifier(client, jwt_jwks_url=jwks.url).verify(signed_by_rsa())
