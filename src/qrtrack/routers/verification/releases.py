"""The release of batches for sale, over HTTP."""

from uuid import UUID

from fastapi import APIRouter

from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.repositories.verification.releases import ReleasedBatch
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import BatchManager
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.schemas.verification.releases import BatchReleased, ReleaseRequest
from qrtrack.services.verification import releases as use_cases
from qrtrack.services.verification.releases import AlreadyReleased

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/batches/{batch_id}", tags=["recalls"])


@router.post(
    "/release",
    response_model=BatchReleased,
    summary="Release a batch for sale",
    responses=problems(NotFound, InvalidState, AlreadyReleased),
)
async def release_batch(
    batch_id: UUID, caller: BatchManager, database: AnsweringDatabase, body: ReleaseRequest | None = None
) -> ReleasedBatch:
    """Releases a batch that was created with `"requires_release": true`; all other batches count as released. Before
    the release, a check with the right root key answers `not_released` and raises an alert; afterwards it answers
    `genuine`. Send `{}` to release now, or `{"at": "…"}` for a later time. That time can be changed until it has come.
    """
    at = None if body is None else body.at
    return await use_cases.release_batch(database, caller=caller, batch_id=batch_id, at=at)
