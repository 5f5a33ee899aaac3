"""Reads user, organisation and roles from the claims of a verified token."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from qrtrack.domain.errors import Forbidden, Unauthenticated
from qrtrack.domain.identity import Caller, Role, normal_user

USER_ID_LENGTH: Final = 255
ORGANISATION_CLAIM: Final = "manufacturer_org_id"


class NoOrganisation(Forbidden):
    """The token is valid but names no organisation, or not by a UUID."""

    slug = "no-organisation"
    title = "No organisation"


class ContradictingClaims(Forbidden):
    """The token names two organisations, or two lists of roles."""

    slug = "contradicting-claims"
    title = "The token contradicts itself"

    def __init__(self, claim: str) -> None:
        super().__init__(
            f"Your token has the claim {claim} twice, with different values (at the top and in app_metadata): ask your "
            "administrator to remove one."
        )


def caller_of(claims: Mapping[str, Any]) -> Caller:
    user_id = normal_user(claims["sub"])
    # The user id is stored with every change. PostgreSQL refuses NUL, and people must be able to read the id.
    if not 0 < len(user_id) <= USER_ID_LENGTH or not user_id.isprintable():
        raise Unauthenticated("The token contains no usable user (claim sub).")
    return Caller(user_id=user_id, organisation_id=_organisation(claims), roles=_roles(claims))


def _organisation(claims: Mapping[str, Any]) -> UUID:
    named = {_as_uuid(value) for value in _claimed(claims, ORGANISATION_CLAIM)}
    if len(named) > 1:
        raise ContradictingClaims(ORGANISATION_CLAIM)
    organisation_id = next(iter(named), None)
    if organisation_id is None:
        raise NoOrganisation(
            "Your account belongs to no organisation (claim manufacturer_org_id): ask your administrator to add it."
        )
    return organisation_id


def _as_uuid(value: Any) -> UUID | None:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        return None


def _roles(claims: Mapping[str, Any]) -> frozenset[Role]:
    """Refuses two different lists of roles: a role that was revoked in one list could remain in the other."""
    named = {_known_roles(value) for value in _claimed(claims, "roles")}
    if len(named) > 1:
        raise ContradictingClaims("roles")
    return named.pop() if named else frozenset()


def _known_roles(value: Any) -> frozenset[Role]:
    entries = value if isinstance(value, list) else [value]
    known = set(Role)
    return frozenset(Role(entry) for entry in entries if isinstance(entry, str) and entry in known)


def _claimed(claims: Mapping[str, Any], name: str) -> list[Any]:
    """Returns the values of the claim: from the token's top level, and from `app_metadata`, which only the identity
    system can write.
    """
    metadata = claims.get("app_metadata")
    places = (claims, metadata) if isinstance(metadata, dict) else (claims,)
    return [place[name] for place in places if place.get(name) is not None]
