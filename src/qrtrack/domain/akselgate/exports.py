"""The columns of an exported report of a day."""

from typing import Final

from qrtrack.domain.exports import Column, Kind

DAY: Final = (Column("date", Kind.CODE), Column("timezone", Kind.CODE))
SETTLEMENT: Final = (Column("kd_settle", Kind.FREE_TEXT), Column("transaction_type", Kind.CODE))
COUNTS: Final = (
    "sent", "accepted", "rejected", "not_sent", "sending", "unknown", "unknown_hour", "unknown_day", "unknown_older",
    "callbacks_ok", "callbacks_failed", "callbacks_missing", "callbacks_conflict",
)  # fmt: skip
SUMS: Final = (
    "sum_in", "sum_out", "sum_accepted", "sum_unknown", "sum_sending", "sum_rejected", "sum_not_sent", "sum_paid",
)  # fmt: skip
FIGURES: Final = (
    *(Column(name, Kind.NUMBER) for name in COUNTS),
    *(Column(name, Kind.MONEY) for name in SUMS),
)
