"""Whether the process lives and whether it can serve."""

from typing import Any

from fastapi import APIRouter

from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState

router = APIRouter(route_class=StrictRoute, tags=["health"])


@router.get("/healthz")
async def live() -> dict[str, Any]:
    """The process answers; nothing else is asked."""
    return {"success": True, "status": "alive"}


@router.get("/readyz")
async def ready(runtime: RuntimeState) -> dict[str, Any]:
    """The database answers and has the schema this version needs; otherwise 503.

    `accurate` tells how its webhooks fare: how long each database and type has been silent, what waits, what belongs to
    nobody, and how long the subscription lasts.
    """
    checked = await runtime.database.ready()
    figures = await runtime.figures.latest()
    return {**checked, "accurate": figures and figures.accurate, "success": True, "status": "ready"}
