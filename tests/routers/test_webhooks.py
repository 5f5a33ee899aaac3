"""Receiving over HTTP: exactly once, in order, and by whom."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import text

from process import settings_of
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.identity import Caller
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings
from routers_conftest_types import ClientOf

PATH = "/webhook/accurate"
DATABASE = 1443290
