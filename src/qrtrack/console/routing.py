"""The routes of the console, for main.py."""

from typing import Final

from fastapi import APIRouter

from qrtrack.console import static_files
from qrtrack.console.views import (
    batch_codes,
    batch_data,
    batch_import,
    batches,
    exports,
    jobs,
    labels,
    overview,
    packing,
    progress,
    scanner_test,
    search,
    settings,
    settlements,
    sign_in,
    verification,
    webhooks,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    overview.router,
    search.router,
    packing.router,
    batch_import.router,
    batch_codes.router,
    batch_data.router,
    batches.router,
    labels.router,
    exports.router,
    jobs.router,
    verification.router,
    webhooks.router,
    settlements.router,
    progress.router,
    scanner_test.router,
    settings.router,
    sign_in.router,
    static_files.router,
)
