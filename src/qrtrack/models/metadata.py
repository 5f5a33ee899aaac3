"""The declarative base: naming convention, column types, and what all tables of organisations share."""

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
    """The base of all tables. It declares no relationships, so nothing loads lazily."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {str: Text, UUID: PG_UUID(as_uuid=True), datetime: DateTime(timezone=True)}


class TenantOwned:
    """A row of one organisation. Row-level security hides it from requests of other organisations. Transactions without
    an organisation, such as those of workers, see all rows.
    """

    manufacturer_org_id: Mapped[UUID]


def child_of(
    parent: str, columns: Mapping[str, str], *, name: str | None = None, ondelete: str | None = None
) -> ForeignKeyConstraint:
    """Returns a foreign key that includes the organisation, so that a child cannot belong to another organisation's
    parent, even where row-level security does not apply. `columns` maps columns of the child to columns of the parent.
    """
    pairs = {"manufacturer_org_id": "manufacturer_org_id", **columns}
    return ForeignKeyConstraint(
        list(pairs), [f"{parent}.{column}" for column in pairs.values()], name=name, ondelete=ondelete
    )


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """Returns a constraint with which the database refuses values that the enum does not contain."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)
