"""The routes of the console, for main.py."""

from typing import Final

from fastapi import APIRouter

from qrtrack.console import static_files
from qrtrack.console.views import batches, exports, jobs, labels, overview, packing, sign_in

ROUTERS: Final[tuple[APIRouter, ...]] = (
    overview.router,
    packing.router,
    batches.router,
    labels.router,
    exports.router,
    jobs.router,
    sign_in.router,
    static_files.router,
)
