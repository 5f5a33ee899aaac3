"""Who calls and what they may do: the role table of the product, as data."""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
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
    """One row of the role table each; a route asks for a permission, never for a role."""

    PACK = "pack"
    MANAGE_BATCHES = "manage-batches"
    DISPATCH = "dispatch"
    RESOLVE_AND_REPLAY = "resolve-and-replay"
    DOCUMENTS_AND_PROGRESS = "documents-and-progress"


ALLOWED: dict[Permission, frozenset[Role]] = {
    Permission.PACK: frozenset({Role.OPERATOR, Role.MANAGER, Role.ADMIN}),
    Permission.MANAGE_BATCHES: frozenset({Role.MANAGER, Role.ADMIN}),
    Permission.DISPATCH: frozenset({Role.FINANCE, Role.ADMIN}),
    Permission.RESOLVE_AND_REPLAY: frozenset({Role.ADMIN}),
    Permission.DOCUMENTS_AND_PROGRESS: frozenset(Role),
}


def normal_user(name: str) -> str:
    """One spelling per user, in which users are stored and compared: nobody approves their own payment by writing
    their name in another way. A UUID has one form; other names keep their case, which belongs to them (OpenID Connect).
    """
    plain = unicodedata.normalize("NFKC", name).strip()
    spelled = SPELLED_UUID.fullmatch(plain.lower())
    return "-".join(spelled.groups()) if spelled else plain


def is_same_person(one: str, other: str) -> bool:
    """Whether two names may be one person's: without regard to case, for where two persons are needed."""
    return normal_user(one).casefold() == normal_user(other).casefold()


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user, acting for one organisation. `user_id` is the token's `sub`, in its normal form."""

    user_id: str
    organisation_id: UUID
    roles: frozenset[Role]

    def may(self, permission: Permission) -> bool:
        return not self.roles.isdisjoint(ALLOWED[permission])
