"""Reports by consumers: their reasons."""

from enum import StrEnum


class ReportReason(StrEnum):
    """`not_me`: the check answered "checked before", but the reporter had not checked the unit."""

    NOT_ME = "not_me"
    LABEL_DAMAGED = "label_damaged"
    KEY_OPENED = "key_opened"
    PRODUCT_DOUBTFUL = "product_doubtful"
    SOLD_TOO_EARLY = "sold_too_early"
    OTHER = "other"
