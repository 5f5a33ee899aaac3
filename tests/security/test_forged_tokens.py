"""Forged, stale and foreign tokens against a real server, which takes HS256 and the published RS256 keys."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from every_route import FOR_MACHINES, FOR_USERS, NO_THINGS
from integrations.test_tokens import RSA_KEY, JwksServer, rsa_jwk, serving_keys
from process import SECRET, serving
from ticking import HANG_SECONDS

AUDIENCE, ISSUER = "qrtrack", "https://identity.example"
STRANGER = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
HS256: Mapping[str, Any] = {"alg": "HS256", "typ": "JWT"}


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; a change to None leaves the claim out."""
    good = {
        "sub": str(uuid4()), "manufacturer_org_id": str(uuid4()), "roles": ["admin"], "exp": int(time.time()) + 3600,
        "aud": AUDIENCE, "iss": ISSUER,
    } | changes  # fmt: skip
    return {name: value for name, value in good.items() if value is not None}


def part(document: Any) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def made(header: Any, body: Any = None, *, secret: bytes | str = SECRET) -> str:
    """Signed by hand with HMAC, whatever the header says."""
    signed = b".".join([part(header), part(claims() if body is None else body)])
    signature = hmac.digest(secret.encode() if isinstance(secret, str) else secret, signed, hashlib.sha256)
    return b".".join([signed, part(signature)]).decode()


def by_rsa(key: rsa.RSAPrivateKey, **headers: Any) -> str:
    return jwt.encode(claims(), key, "RS256", headers=headers)


@dataclass(frozen=True)
class Site:
    client: httpx2.Client
    keys: JwksServer
    attacker: JwksServer


@pytest.fixture(scope="module")
def site(migrated_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("tokens")
    with serving_keys() as keys, serving_keys() as attacker:
        keys.keys = [rsa_jwk("rsa-1")]
        attacker.keys = [rsa_jwk("rsa-1", STRANGER), rsa_jwk("own", STRANGER)]
        settings = {
            "DATABASE_URL": migrated_url, "JWT_JWKS_URL": keys.url, "JWT_AUDIENCE": AUDIENCE, "JWT_ISSUER": ISSUER,
        }  # fmt: skip
        with (
            serving(folder, **settings) as address,
            httpx2.Client(base_url=address, trust_env=False, timeout=HANG_SECONDS) as client,
        ):
            yield Site(client, keys, attacker)


def unsigned() -> dict[str, str]:
    found: dict[str, str] = {}
    spellings: list[Any] = ["none", "None", "NONE", "nOnE", "none ", "\u0000none", "", None, 0, False, [], ["none"], {}]
    for spelling in spellings:
        header = {"alg": spelling, "typ": "JWT", "kid": "rsa-1"}
        bare = made(header).rpartition(".")[0]
        found |= {f"alg {spelling!r} {end!r}": bare + end for end in ("", ".", ".e30", "..")}
        found[f"alg {spelling!r} signed"] = made(header)
    return found | {"no alg": made({"typ": "JWT"}), "alg twice": made(b'{"alg":"none","alg":"HS256"}', secret="")}


def wrongly_signed() -> dict[str, str]:
    public = RSA_KEY.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secrets: dict[str, str | bytes] = {
        "another secret": "another-secret-another-secret-another", "an empty secret": "", "a shorter one": SECRET[:-1],
        "the public key": pem, "its text without the last line": pem.strip(), "its bytes":
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "its PKCS#1":
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1), "its JWK": json.dumps(rsa_jwk("rsa-1")).encode(),
    }  # fmt: skip
    found = {f"HS256 with {name}": made({**HS256, "kid": "rsa-1"}, secret=secret) for name, secret in secrets.items()}
    found |= {algorithm: jwt.encode(claims(), SECRET * 4, algorithm) for algorithm in ("HS384", "HS512")}
    found |= {algorithm: made({"alg": algorithm, "kid": "rsa-1"}) for algorithm in ("RS256", "PS256", "ES256", "EdDSA")}
    header, body, signature = made(HS256).split(".")
    other = part(claims(roles=["admin"], sub="somebody")).decode()
    return found | {
        "a stranger's RSA key": by_rsa(STRANGER, kid="rsa-1"),
        "an EC key under the RSA key's id": jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "rsa-1"}),
        "PS256 of the published key": jwt.encode(claims(), RSA_KEY, "PS256", headers={"kid": "rsa-1"}),
        "other claims": f"{header}.{other}.{signature}",
        "no signature": f"{header}.{body}.",
        "half a signature": f"{header}.{body}.{signature[:20]}",
    }


def with_tricky_headers(attacker: JwksServer) -> dict[str, str]:
    """Headers that tell where to take the key from, or which name something else than a key."""
    own = rsa_jwk("own", STRANGER)
    found = {
        f"{name} of the attacker": by_rsa(STRANGER, kid="own", **{name: value})
        for name, value in {"jku": attacker.url, "x5u": attacker.url, "jwk": own, "x5c": ["MIIB"]}.items()
    }
    for kid in (
        "../../../../../../dev/null", "/dev/null", "/proc/sys/kernel/randomize_va_space", "| id", "x' OR '1'='1",
        attacker.url, "", "rsa-1\0", "RSA-1", "x" * 5000,
    ):  # fmt: skip
        found[f"kid {kid[:40]!r} by a stranger"] = by_rsa(STRANGER, kid=kid)
        found[f"kid {kid[:40]!r} with an empty secret"] = made({**HS256, "kid": kid}, secret="")
    for odd in (1, None, [], ["rsa-1"], {"a": 1}, True):
        found[f"kid {odd!r}"] = made({"alg": "RS256", "kid": odd})
    return found | {
        "crit": made({**HS256, "crit": ["exp"]}, secret="x" * 32),
        "an unknown extension that is critical": made({**HS256, "crit": ["made-up"], "made-up": 1}),
        "an encoding that is not ours": made({**HS256, "b64": False, "crit": ["b64"]}),
        "an array as header": made(b"[]"),
        "no JSON as header": made(b"{"),
        "a deep header": made(b"[" * 3000),
    }


def with_bad_claims() -> dict[str, str]:
    now = int(time.time())
    changes: dict[str, dict[str, Any]] = {
        "expired": {"exp": now - 1}, "expired long ago": {"exp": 0}, "no exp": {"exp": None}, "exp as a word":
        {"exp": "tomorrow"}, "exp as a list": {"exp": [now + 99]}, "exp true": {"exp": True}, "not yet valid":
        {"nbf": now + 3600}, "nbf as a word": {"nbf": "soon"}, "another audience": {"aud": "other"}, "no audience":
        {"aud": None}, "an empty audience": {"aud": []}, "other audiences": {"aud": ["a", "b"]}, "audience in capitals":
        {"aud": "QRTRACK"}, "another issuer": {"iss": "https://identity.example.evil.example"}, "issuer with a slash":
        {"iss": f"{ISSUER}/"}, "no issuer": {"iss": None}, "no sub": {"sub": None}, "empty sub": {"sub": ""},
        "sub as a number": {"sub": 7}, "sub as a list": {"sub": ["u"]}, "sub with NUL": {"sub": "u\0"}, "a long sub":
        {"sub": "x" * 256}, "sub of blanks": {"sub": "   "}, "sub with a line": {"sub": "u\nadmin"},
    }  # fmt: skip
    found = {name: made(HS256, claims(**change)) for name, change in changes.items()}
    return found | {
        "claims as a list": made(HS256, [claims()]),
        "claims that are no JSON": made(HS256, b"{"),
        "infinite exp": made(HS256, json.dumps(claims(exp=float("inf"))).encode()),
        "an encrypted token": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..aaaa.aaaa.aaaa",
        "large": made(HS256, claims(filler="x" * 20_000)),
        "almost too large for a header": "x" * 60_000,
    }


ROUTES = [route for route in FOR_USERS if route.id in {
    "GET /api/manufacturer/batches", "POST /api/manufacturer/codes/void", "GET /api/akselgate/attempts",
    "POST /api/akselgate/dispatch", "GET /api/accurate/events/{queue_id}",
}]  # fmt: skip


def is_sent_away(answer: httpx2.Response) -> bool:
    return (
        answer.status_code == 401
        and answer.headers["content-type"] == "application/problem+json"
        and answer.headers["www-authenticate"].startswith("Bearer")
        and answer.json()["type"] == "urn:qrtrack:problem:unauthenticated"
    )


def sent(site: Site, route: Any, header: str | bytes) -> httpx2.Response:
    path, arguments = NO_THINGS.request(route)
    value = header.encode("latin-1") if isinstance(header, str) else header
    return site.client.request(route.method, path, headers=[(b"Authorization", value)], **arguments)


def test_genuine_tokens_are_taken(site: Site) -> None:
    """Otherwise the rest of this file would prove nothing."""
    for token in (made(HS256), made({**HS256, "kid": "whatever"}), by_rsa(RSA_KEY, kid="rsa-1")):
        assert sent(site, ROUTES[0], f"Bearer {token}").status_code == 200


@pytest.mark.parametrize("kind", ["unsigned", "wrongly signed", "tricky headers", "bad claims"])
def test_a_forged_token_is_401(site: Site, kind: str) -> None:
    tokens = {
        "unsigned": unsigned,
        "wrongly signed": wrongly_signed,
        "tricky headers": lambda: with_tricky_headers(site.attacker),
        "bad claims": with_bad_claims,
    }[kind]()
    assert len(ROUTES) == 5
    for name, token in tokens.items():
        for route in ROUTES:
            answer = sent(site, route, f"Bearer {token}")
            assert is_sent_away(answer), (name, route.id, answer.status_code, answer.text)
            assert token not in answer.text
    assert site.attacker.fetches == 0
    assert site.client.get("/healthz").status_code == 200


def test_a_forged_token_opens_no_route_at_all(site: Site) -> None:
    for route in FOR_USERS + FOR_MACHINES:
        for token in (made({**HS256, "alg": "none"}).rpartition(".")[0] + ".", by_rsa(STRANGER, kid="rsa-1")):
            assert is_sent_away(sent(site, route, f"Bearer {token}")), route.id


def test_other_schemes_are_401(site: Site) -> None:
    token = made(HS256)
    basic = base64.b64encode(f"admin:{token}".encode()).decode()
    schemes = [
        f"Basic {basic}", token, f"Token {token}", f"Digest username={token}", f"JWT {token}", "Bearer", "",
        f"Bearer Bearer {token}", f"Bearer {token} {token}", f"Bearer {token},Bearer {token}", f"Bearer\xa0{token}",
        f"Bearer {token}\xe9", f"BearerX {token}", f"Bearer '{token}'",
    ]  # fmt: skip
    for scheme in schemes:
        for route in ROUTES:
            answer = sent(site, route, scheme)
            assert is_sent_away(answer), (scheme[:20], route.id, answer.status_code, answer.text)


def test_a_token_elsewhere_than_in_the_header_is_401(site: Site) -> None:
    token = made(HS256)
    elsewhere: list[dict[str, Any]] = [
        {"params": {"access_token": token}}, {"params": {"token": token}}, {"headers": {"X-Authorization": token}},
        {"headers": {"Cookie": f"token={token}; Authorization=Bearer {token}"}},
        {"headers": {"Proxy-Authorization": f"Bearer {token}"}},
    ]  # fmt: skip
    for given in elsewhere:
        assert is_sent_away(site.client.get("/api/manufacturer/batches", **given))


def test_two_authorizations_are_refused_whichever_is_good(site: Site) -> None:
    good, bad = f"Bearer {made(HS256)}", f"Bearer {made(HS256, secret='x' * 32)}"
    for both in ([good, good], [good, bad], [bad, good]):
        for name in ("authorization", "AUTHORIZATION"):
            headers = [("Authorization", both[0]), (name, both[1])]
            answer = site.client.get("/api/manufacturer/batches", headers=headers)
            assert answer.status_code == 400
            assert answer.json()["type"] == "urn:qrtrack:problem:repeated-header"


def test_a_genuine_token_without_one_organisation_is_403(site: Site) -> None:
    """The user is known, so another sign-in would not help."""
    other = str(uuid4())
    bodies: dict[str, list[dict[str, Any]]] = {
        "no-organisation": [{"manufacturer_org_id": odd} for odd in (None, "", "7", 7, [other], {"id": other})],
        "contradicting-claims": [
            {"app_metadata": {"manufacturer_org_id": other}},
            {"manufacturer_org_id": "x", "app_metadata": {"manufacturer_org_id": other}},
            {"roles": ["operator"], "app_metadata": {"roles": ["admin"]}},
        ],
        "missing-role": [{"roles": odd} for odd in (None, [], "Admin", ["ADMIN"], ["admin "], {"admin": True}, True)],
    }
    for slug, changes in bodies.items():
        for change in changes:
            answer = sent(site, ROUTES[0], f"Bearer {made(HS256, claims(**change))}")
            assert answer.status_code == 403, (change, answer.text)
            assert answer.json()["type"] == f"urn:qrtrack:problem:{slug}", change
    only_written_by_users = claims(roles=None, user_metadata={"roles": ["admin"]})
    assert sent(site, ROUTES[0], f"Bearer {made(HS256, only_written_by_users)}").status_code == 403
