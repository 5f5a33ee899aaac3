"""The routes of the console, for main.py."""

from typing import Final

from fastapi import APIRouter

from qrtrack.console import static_files
from qrtrack.console.views import batches, jobs, overview, packing, progress, settlements, sign_in, webhooks

ROUTERS: Final[tuple[APIRouter, ...]] = (
    overview.router,
    packing.router,
    batches.router,
    jobs.router,
    webhooks.router,
    settlements.router,
    progress.router,
    sign_in.router,
    static_files.router,
)
