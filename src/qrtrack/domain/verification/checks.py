"""A check of one unit: its purpose, its results, and which result holds."""

from enum import StrEnum


class Purpose(StrEnum):
    """`qc`: a check by the plant's own staff. It never counts and never changes the state of a code."""

    CONSUMER = "consumer"
    QC = "qc"


class Result(StrEnum):
    GENUINE = "genuine"
    GENUINE_SEEN_BEFORE = "genuine_seen_before"
    NOT_RELEASED = "not_released"
    VOID = "void"
    RECALLED = "recalled"
    UNKNOWN = "unknown"
