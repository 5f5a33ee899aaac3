"""The columns of the exports of a batch: its codes, its cases, the prepared codes of a job, and its reconciliation."""

from typing import Final

from qrtrack.domain.exports import Column, Kind

CODES: Final = (
    Column("code", Kind.CODE),
    Column("sequence_number", Kind.NUMBER),
    Column("variant", Kind.FREE_TEXT),
    Column("status", Kind.CODE),
    Column("case_number", Kind.NUMBER),
    Column("master_code", Kind.CODE),
)
ROOT_KEY: Final = Column("root_key", Kind.CODE)
PAYLOAD: Final = Column("payload", Kind.CODE)
CASES: Final = (
    Column("case_number", Kind.NUMBER),
    Column("master_code", Kind.CODE),
    Column("status", Kind.CODE),
    Column("units", Kind.NUMBER),
    Column("first_code", Kind.CODE),
    Column("last_code", Kind.CODE),
    Column("completeness", Kind.CODE),
    Column("packed_at", Kind.INSTANT),
    Column("station", Kind.FREE_TEXT),
)
PREPARED: Final = (
    Column("sequence_number", Kind.NUMBER),
    Column("code", Kind.CODE),
    Column("status", Kind.CODE),
    Column("consumed_at", Kind.INSTANT),
)
PLACES: Final = (
    Column("uniq_code", Kind.CODE),
    Column("product_name", Kind.FREE_TEXT),
    Column("place", Kind.CODE),
    Column("units", Kind.NUMBER),
)
DIFFERENCES: Final = (Column("code", Kind.CODE),)
