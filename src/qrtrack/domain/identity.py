"""Who calls and what they may do: the role table of the product, as data."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


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


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user, acting for one organisation. `user_id` is the token's `sub`."""

    user_id: str
    organisation_id: UUID
    roles: frozenset[Role]

    def may(self, permission: Permission) -> bool:
        return not self.roles.isdisjoint(ALLOWED[permission])
