"""Verifies tokens: with JWT_SECRET, or with the published keys of the identity system (JWKS)."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx2
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from qrtrack.domain.errors import Unauthenticated, Unavailable
from qrtrack.domain.identity import Caller, Role
from qrtrack.integrations.token_claims import caller_of
from qrtrack.settings import Settings

TOKEN_LENGTH: Final = 16_384
KEY_SET_BYTES: Final = 262_144
KEY_SET_KEYS: Final = 100
FETCH_SECONDS: Final = 5.0
REFETCH_SECONDS: Final = 30.0
# A withdrawn key is accepted until the key set is AGE old. While the set cannot be fetched, its keys are accepted until
# it is TRUSTED old; then nobody can sign in. Cached tokens add up to a minute to both.
KEY_SET_AGE_SECONDS: Final = 300.0
KEY_SET_TRUSTED_SECONDS: Final = 3600.0
RSA_KEY_BITS: Final = 2048
KNOWN_SECONDS: Final = 60.0
# How far the issuer's clock may be ahead of ours. `exp` has no leeway: the client then fetches a new token.
LEEWAY_SECONDS: Final = 5.0
KNOWN_TOKENS: Final = 1000

log = structlog.get_logger(__name__)


class KeySet:
    """A cache of the identity system's published keys.

    It fetches one set at a time and at most one in 30 s, also after failures and whatever key ids callers invent.
    During an outage of the identity system, it accepts the fetched keys for an hour.

    PyJWKClient (PyJWT 2.15) does not limit the size of the answer, has no back-off after a failed fetch, and has no
    keys during an outage. Adding these around it would not be simpler.
    """

    def __init__(self, url: str, client: httpx2.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._keys: list[jwt.PyJWK] = []
        self._tried_at: float | None = None
        self._fetched_at: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK:
        """Returns the key that verifies the token. Raises Unauthenticated if the published keys do not contain it, or
        Unavailable if it is not known and the last fetch of the keys has failed.
        """
        key = self._cached(key_id, algorithm)
        # With a trusted key in the cache, a request does not wait for a refresh that another request has begun.
        if key is None or self._is_untrusted() or (self._is_old() and not self._lock.locked()):
            await self._refresh(lambda: self._cached(key_id, algorithm) is None or self._is_old())
            key = self._cached(key_id, algorithm)
        if key is not None and not self._is_untrusted():
            return key
        if self._tried_at != self._fetched_at:
            raise Unavailable("The keys of the identity system could not be fetched: try again shortly.")
        raise Unauthenticated("The token is signed with a key that the identity system does not publish.")

    def _cached(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == key_id), None)

    def _is_old(self) -> bool:
        return self._age() > KEY_SET_AGE_SECONDS

    def _is_untrusted(self) -> bool:
        return self._age() > KEY_SET_TRUSTED_SECONDS

    def _age(self) -> float:
        return math.inf if self._fetched_at is None else self._clock() - self._fetched_at

    async def _refresh(self, still_needed: Callable[[], bool]) -> None:
        async with self._lock:
            is_too_early = self._tried_at is not None and self._clock() - self._tried_at < REFETCH_SECONDS
            if is_too_early or not still_needed():
                return
            try:
                keys = _usable_keys(await self._fetch())
            except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError, RecursionError) as error:
                log.warning("the keys of the identity system could not be fetched", reason=type(error).__name__)
                self._tried_at = self._clock()
            else:
                self._keys = keys
                self._tried_at = self._fetched_at = self._clock()

    async def _fetch(self) -> Any:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            self._client.stream("GET", self._url, timeout=FETCH_SECONDS, follow_redirects=False) as response,
        ):
            response.raise_for_status()
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > KEY_SET_BYTES:
                    raise ValueError("the key set is too large")
        return json.loads(body)


def _usable_keys(document: Any) -> list[jwt.PyJWK]:
    """Returns the signature keys of the two accepted types, each bound to one algorithm. Raises ValueError for other
    documents.
    """
    match document:
        case {"keys": list(entries)}:
            keys = (_usable_key(entry) for entry in entries[:KEY_SET_KEYS])
            return [key for key in keys if key is not None]
        case _:
            raise ValueError("the document is no key set")


def _usable_key(entry: Any) -> jwt.PyJWK | None:
    match entry:
        case {"d": _}:
            # A published private key is refused: anybody can sign with it.
            return None
        case {"kty": "RSA"}:
            algorithm = "RS256"
        case {"kty": "EC", "crv": "P-256"}:
            algorithm = "ES256"
        case _:
            return None
    if entry.get("alg", algorithm) != algorithm or entry.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(entry, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    is_weak = isinstance(key.key, RSAPublicKey) and key.key.key_size < RSA_KEY_BITS
    return None if is_weak else key


class TokenVerifier:
    """Turns a bearer token into a Caller.

    The key decides the algorithm: the shared secret verifies only HS256, a published key only the algorithm of its
    type. So nobody can use a public key as a shared secret (algorithm confusion), and `none` has no key.

    Verified tokens are cached for up to a minute, since stations and polling front ends repeat them.
    """

    def __init__(self, settings: Settings, client: httpx2.AsyncClient) -> None:
        self._secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        self._keys = KeySet(settings.jwt_jwks_url, client) if settings.jwt_jwks_url else None
        self._audience = settings.jwt_audience
        self._issuer = settings.jwt_issuer
        self._known: dict[str, tuple[Caller, float]] = {}

    async def verify(self, token: str) -> Caller:
        """Returns the caller. Raises Unauthenticated for a bad token, Forbidden if its claims name no organisation or
        contradict each other, and Unavailable if the keys could not be fetched.
        """
        if len(token) > TOKEN_LENGTH or not token.isascii():
            raise Unauthenticated("The token is not valid: sign in again.")
        caller, until = self._known.get(token, (None, 0.0))
        # An expiry more than a minute ahead means that the system clock was set back.
        if caller is not None and 0 < until - time.time() <= KNOWN_SECONDS:
            return caller
        key, algorithm = await self._key_for(token)
        claims = self._claims(token, key, algorithm)
        caller = caller_of(claims)
        self._remember(token, caller, expires=int(claims["exp"]))
        return caller

    def _remember(self, token: str, caller: Caller, *, expires: float) -> None:
        self._known.pop(token, None)
        if len(self._known) >= KNOWN_TOKENS:
            del self._known[next(iter(self._known))]
        self._known[token] = caller, min(expires, time.time() + KNOWN_SECONDS)

    async def _key_for(self, token: str) -> tuple[jwt.PyJWK | str, str]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthenticated("The token is not valid: sign in again.") from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == "HS256" and self._secret is not None:
            return self._secret, "HS256"
        if algorithm in ("RS256", "ES256") and self._keys is not None:
            return await self._keys.find(key_id, algorithm), algorithm
        raise Unauthenticated("The token is signed in a way that this service does not accept.")

    def _claims(self, token: str, key: jwt.PyJWK | str, algorithm: str) -> dict[str, Any]:
        # Checks only configured claims: Supabase's tokens carry an audience even if none is configured here. `iat` does
        # not limit validity.
        options: jwt.types.Options = {
            "require": ["exp", "sub"],
            "verify_aud": self._audience is not None,
            "verify_iss": self._issuer is not None,
            "verify_iat": False,
            "verify_jti": False,
        }
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options=options,
                leeway=LEEWAY_SECONDS,
            )
            if int(claims["exp"]) <= time.time():
                raise jwt.ExpiredSignatureError
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise Unauthenticated(_sentence(error)) from error
        return claims


def _sentence(error: Exception) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "The token has expired: sign in again."
        case jwt.ImmatureSignatureError():
            return "The token is not valid yet: try again in a minute. If this does not help, a clock is wrong."
        case jwt.InvalidAudienceError() | jwt.InvalidIssuerError():
            return "The token was made for or by another service: sign in again."
        case jwt.MissingRequiredClaimError():
            return f"The token lacks the claim {error.claim}."
        case _:
            return "The token is not valid: sign in again."


def sign_token(
    secret: str,
    *,
    organisation_id: UUID,
    user_id: str,
    roles: Iterable[Role],
    hours: float,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """Signs an HS256 token like those of the identity system, for the command line and for tests."""
    now = datetime.now(UTC)
    claims: dict[str, Any] = {
        "sub": user_id,
        "manufacturer_org_id": str(organisation_id),
        "roles": sorted(roles),
        "iat": now,
        "exp": now + timedelta(hours=hours),
    }
    optional = {"aud": audience, "iss": issuer}
    return jwt.encode(claims | {name: value for name, value in optional.items() if value is not None}, secret, "HS256")
