"""The routes of the console, for main.py."""

from typing import Final

from fastapi import APIRouter

from qrtrack.console import static_files
from qrtrack.console.views import batches, jobs, overview, packing, search, sign_in

ROUTERS: Final[tuple[APIRouter, ...]] = (
    overview.router,
    search.router,
    packing.router,
    batches.router,
    jobs.router,
    sign_in.router,
    static_files.router,
)
