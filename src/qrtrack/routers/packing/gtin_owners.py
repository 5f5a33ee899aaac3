"""The GS1 company prefixes of an organisation over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path

from qrtrack.domain.errors import NotFound
from qrtrack.domain.packing.gtin_owners import PrefixTaken, TooManyPrefixes
from qrtrack.repositories.packing.gtin_owners import OwnPrefix
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import Packer, PrefixClaimer, RuntimeState
from qrtrack.routers.problems import problems
from qrtrack.schemas.packing.gtin_owners import (
    CompanyPrefix,
    Gs1Prefix,
    Gs1PrefixAnswer,
    Gs1PrefixDeleted,
    Gs1PrefixList,
)
from qrtrack.services.packing import gtin_owners as use_cases

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/gs1-prefixes", tags=["batches"])

PathPrefix = Annotated[CompanyPrefix, Path(description="4 to 12 digits, as GS1 gave it.", examples=["8991234"])]


@router.get("", summary="List company prefixes")
async def list_company_prefixes(caller: Packer, runtime: RuntimeState) -> Gs1PrefixList:
    """Lists the GS1 company prefixes that the organisation has claimed, at most 100."""
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        rows = await repositories.gtin_owners.list_prefixes(caller.organisation_id)
    return Gs1PrefixList(gs1_prefixes=[Gs1Prefix.model_validate(row) for row in rows])


@router.put(
    "/{prefix}",
    response_model=Gs1PrefixAnswer,
    summary="Claim a company prefix",
    responses=problems(PrefixTaken, TooManyPrefixes),
)
async def claim_company_prefix(prefix: PathPrefix, caller: PrefixClaimer, runtime: RuntimeState) -> OwnPrefix:
    """Claims a prefix: from now on, no other organisation of the service can make batches with a GTIN that begins with
    it. Claiming it again changes nothing. A GTIN alone needs no prefix: the first batch with it claims it.
    """
    return await use_cases.claim_prefix(runtime.database, caller=caller, prefix=prefix)


@router.delete("/{prefix}", summary="Delete a company prefix", responses=problems(NotFound))
async def delete_company_prefix(prefix: PathPrefix, caller: PrefixClaimer, runtime: RuntimeState) -> Gs1PrefixDeleted:
    """Gives the prefix up. The GTINs of the organisation's batches still belong to the organisation."""
    await use_cases.delete_prefix(runtime.database, caller=caller, prefix=prefix)
    return Gs1PrefixDeleted(prefix=prefix)
