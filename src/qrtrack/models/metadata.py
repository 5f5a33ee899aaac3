"""The declarative base: naming convention, column types, and what every table of a tenant shares."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKeyConstraint, MetaData, Text, func
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Instant = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]


class Table(DeclarativeBase):
    """Base of all tables. Their rows travel as plain values: no relationships, nothing loads lazily."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {str: Text, UUID: PG_UUID(as_uuid=True), datetime: DateTime(timezone=True)}


class TenantOwned:
    """A row of one organisation: PostgreSQL shows it to that organisation's transactions only."""

    manufacturer_org_id: Mapped[UUID]


def child_of(
    parent: str, columns: Mapping[str, str], *, name: str | None = None, ondelete: str | None = None
) -> ForeignKeyConstraint:
    """Ties a row to its parent and to the parent's organisation, also where row-level security would not look.

    `columns`: the child's columns, and the parent's column that each refers to.
    """
    pairs = {"manufacturer_org_id": "manufacturer_org_id", **columns}
    return ForeignKeyConstraint(
        list(pairs), [f"{parent}.{column}" for column in pairs.values()], name=name, ondelete=ondelete
    )


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """The database refuses a word that the code does not know."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)
