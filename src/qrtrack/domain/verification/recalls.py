"""Recalls: what one recall covers."""

from enum import StrEnum


class RecallScope(StrEnum):
    BATCH = "batch"
    CASE = "case"
    CODES = "codes"
