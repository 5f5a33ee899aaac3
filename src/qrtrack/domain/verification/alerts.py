"""The kinds of alerts that checks raise for the manufacturer."""

from enum import StrEnum


class AlertKind(StrEnum):
    """`guessing`: many wrong keys for one batch. `many_networks`: one code was checked from many networks.

    The others: a right key of a void, recalled, unreleased or expired unit was entered.
    """

    GUESSING = "guessing"
    MANY_NETWORKS = "many_networks"
    VOID = "void"
    RECALLED = "recalled"
    NOT_RELEASED = "not_released"
    EXPIRED = "expired"
