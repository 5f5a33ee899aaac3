"""Callers, roles and permissions. The role table of the product is data in this file."""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

SPELLED_UUID = re.compile(
    r"(?:urn:)?(?:uuid:)?\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?"
)


class Role(StrEnum):
    OPERATOR = "operator"
    MANAGER = "manager"
    FINANCE = "finance"
    ADMIN = "admin"


class Permission(StrEnum):
    """The rows of the role table. A route requires a permission, never a role."""

    PACK = "pack"
    MANAGE_BATCHES = "manage-batches"
    CLAIM_PREFIXES = "claim-prefixes"
    DISPATCH = "dispatch"
    RESOLVE_AND_REPLAY = "resolve-and-replay"
    DOCUMENTS_AND_PROGRESS = "documents-and-progress"
    SEE_INSTALLATION = "see-installation"


ALLOWED: dict[Permission, frozenset[Role]] = {
    Permission.PACK: frozenset({Role.OPERATOR, Role.MANAGER, Role.ADMIN}),
    Permission.MANAGE_BATCHES: frozenset({Role.MANAGER, Role.ADMIN}),
    Permission.CLAIM_PREFIXES: frozenset({Role.ADMIN}),
    Permission.DISPATCH: frozenset({Role.FINANCE, Role.ADMIN}),
    Permission.RESOLVE_AND_REPLAY: frozenset({Role.ADMIN}),
    Permission.DOCUMENTS_AND_PROGRESS: frozenset(Role),
    Permission.SEE_INSTALLATION: frozenset({Role.ADMIN}),
}


def normal_user(name: str) -> str:
    """Returns a user id in its normal form, which is stored and compared. With several spellings of one id, a person
    could approve a payment of their own. UUIDs get one form. Other names keep their case, since `sub` is case-sensitive
    (OpenID Connect).
    """
    plain = unicodedata.normalize("NFKC", name).strip()
    spelled = SPELLED_UUID.fullmatch(plain.lower())
    return "-".join(spelled.groups()) if spelled else plain


def is_same_person(one: str, other: str) -> bool:
    """Compares two user ids without regard to case: where two different persons are required, two spellings of one name
    must not count as two persons.
    """
    return normal_user(one).casefold() == normal_user(other).casefold()


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user, acting for one organisation. `user_id` is the token's `sub` in its normal form.

    A caller without roles is the actor of background work, named in trace events. It may call nothing.
    """

    user_id: str
    organisation_id: UUID
    roles: frozenset[Role] = frozenset()

    @classmethod
    def service(cls, organisation_id: UUID) -> Self:
        """Returns the service itself, as the actor of changes that no user caused."""
        return cls("qrtrack", organisation_id)

    def may(self, permission: Permission) -> bool:
        return not self.roles.isdisjoint(ALLOWED[permission])
