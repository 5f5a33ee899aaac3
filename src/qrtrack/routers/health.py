"""Whether the process lives and whether it can serve."""

from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter

from qrtrack.routers.dependencies import RuntimeState
from qrtrack.services.accurate import connection_figures

router = APIRouter(tags=["health"])


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
    accurate = await connection_figures(runtime.database, zone=ZoneInfo(runtime.settings.accurate_timezone))
    return {**checked, "accurate": accurate, "success": True, "status": "ready"}
