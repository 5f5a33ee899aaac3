"""Claiming GTINs and GS1 company prefixes for an organisation, and moving them to another one."""

from dataclasses import dataclass
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.gtin_owners import (
    PREFIXES_OF_ORGANISATION,
    GtinTaken,
    Items,
    TooManyPrefixes,
    check_prefix,
    items_of_gtin,
    items_of_prefix,
    prefix_of_another,
    prefix_of_your_own,
)
from qrtrack.domain.qr import normalise_gtin
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.gtin_owners import GtinOwnerRow, OwnPrefix


async def claim_gtin(repositories: Repositories, caller: Caller, gtin: str | None) -> None:
    """Claims the GTIN for the organisation, in the transaction that creates a batch with it. Raises GtinTaken."""
    if gtin is not None and not await repositories.gtin_owners.claim_gtin(
        gtin, items_of_gtin(gtin), organisation_id=caller.organisation_id, actor=caller.user_id
    ):
        raise GtinTaken(gtin)


async def claim_prefix(database: Database, *, caller: Caller, prefix: str) -> OwnPrefix:
    """Claims the prefix. Claiming it again changes nothing. Raises PrefixTaken, TooManyPrefixes."""
    organisation_id, items = caller.organisation_id, items_of_prefix(prefix)
    async with database.write(tenant=organisation_id) as repositories:
        await repositories.gtin_owners.lock_prefixes(organisation_id)
        own = {row.prefix: row for row in await repositories.gtin_owners.list_prefixes(organisation_id)}
        if prefix in own:
            return own[prefix]
        if overlapping := [known for known in own if known.startswith(prefix) or prefix.startswith(known)]:
            raise prefix_of_your_own(prefix, overlapping[0])
        if len(own) >= PREFIXES_OF_ORGANISATION:
            raise TooManyPrefixes
        if not await repositories.gtin_owners.claim_prefix(
            prefix, items, organisation_id=organisation_id, actor=caller.user_id
        ):
            raise prefix_of_another(prefix)
        await repositories.trace.add("company_prefix.claimed", caller=caller, details={"prefix": prefix})
        claimed = await repositories.gtin_owners.list_prefixes(organisation_id)
        return next(row for row in claimed if row.prefix == prefix)


async def delete_prefix(database: Database, *, caller: Caller, prefix: str) -> None:
    """Gives the prefix up. GTINs that the organisation's batches use still belong to it. Raises NotFound."""
    organisation_id, items = caller.organisation_id, items_of_prefix(prefix)
    async with database.write(tenant=organisation_id) as repositories:
        await repositories.gtin_owners.lock_prefixes(organisation_id)
        if not await repositories.gtin_owners.delete_prefix(
            prefix, items, organisation_id=organisation_id, actor=caller.user_id
        ):
            raise NotFound(f"Your organisation has no company prefix {prefix}.")
        await repositories.trace.add("company_prefix.deleted", caller=caller, details={"prefix": prefix})


@dataclass(frozen=True, slots=True)
class MovedGtin:
    """A moved GTIN or prefix. `batches` counts the batches of the old owner with such a GTIN; they keep it."""

    name: str
    owner: UUID
    moved_to: UUID | None
    batches: int


async def find_owner(database: Database, *, gtin: str | None, prefix: str | None) -> MovedGtin:
    """Raises NotFound, InvalidInput."""
    name, items = _named(gtin, prefix)
    async with database.read() as repositories:
        row = await _owner(repositories, name, items)
        batches = await repositories.gtin_owners.count_batches(items, organisation_id=row.organisation_id)
    return MovedGtin(_shown(row), row.organisation_id, None, batches)


async def move_to(database: Database, *, gtin: str | None, prefix: str | None, to: UUID) -> MovedGtin:
    """Gives the GTIN or the prefix to another organisation. Both organisations get a trace event. Moving it again
    changes nothing. Raises NotFound, InvalidInput, and InvalidState if the owner has another GTIN or prefix that
    contains it or lies in it.
    """
    name, items = _named(gtin, prefix)
    async with database.write() as repositories:
        row = await _owner(repositories, name, items)
        owner = row.organisation_id
        if row.prefix != prefix:
            raise InvalidState(f"Organisation {owner} has {_shown(row)}, not {name} by itself. Move {_shown(row)}.")
        if owner != to and await repositories.gtin_owners.move(items, organisation_id=owner, to=to):
            for organisation_id in (owner, to):
                details = {"gtin": row.gtin, "prefix": row.prefix, "is_own": organisation_id == to}
                await repositories.trace.add("gtin.moved", caller=Caller.service(organisation_id), details=details)
        batches = await repositories.gtin_owners.count_batches(items, organisation_id=owner)
    return MovedGtin(name, owner, to, batches)


def _named(gtin: str | None, prefix: str | None) -> tuple[str, Items]:
    if gtin is not None:
        return f"the GTIN {gtin}", items_of_gtin(normalise_gtin(gtin))
    assert prefix is not None
    return f"the prefix {prefix}", items_of_prefix(check_prefix(prefix))


def _shown(row: GtinOwnerRow) -> str:
    return f"the prefix {row.prefix}" if row.prefix else f"the GTIN {row.gtin}"


async def _owner(repositories: Repositories, name: str, items: Items) -> GtinOwnerRow:
    rows = await repositories.gtin_owners.find(items)
    if not rows:
        raise NotFound(f"No organisation has claimed {name}, so there is no owner to show or to change.")
    return rows[0]
