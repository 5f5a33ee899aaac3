"""Accurate's documents over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import DocumentReader, RuntimeState
from qrtrack.schemas.accurate.documents import DocumentPage, DocumentQuery

router = APIRouter(route_class=StrictRoute, prefix="/api/accurate", tags=["accurate"])


@router.get("/documents", response_model=DocumentPage, summary="List Accurate's documents")
async def list_documents(
    query: Annotated[DocumentQuery, Query()], caller: DocumentReader, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists the newest known state of each entity, by database, type and entity id. A document number does not identify
    an entity: Accurate reuses numbers.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        documents = await repositories.accurate_documents.page(
            type=query.type,
            database_id=query.database_id,
            deleted=query.deleted,
            after=query.after(),
            limit=query.one_more,
        )
    return query.page("documents", documents, lambda last: (last.database_id, last.type, last.entity_id))
