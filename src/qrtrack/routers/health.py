"""Whether the process lives and whether it can serve."""

from typing import Any

from fastapi import APIRouter

from qrtrack.routers.dependencies import RuntimeState

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def live() -> dict[str, Any]:
    """The process answers; nothing else is asked."""
    return {"success": True, "status": "alive"}


@router.get("/readyz")
async def ready(runtime: RuntimeState) -> dict[str, Any]:
    """The database answers and has the schema this version needs; otherwise 503."""
    return {**await runtime.database.ready(), "success": True, "status": "ready"}
