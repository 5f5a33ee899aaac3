"""Batches, their variants, and the chunks of work that create their codes and hash their root keys."""

from datetime import date
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.domain.packing.states import BatchStatus
from qrtrack.models.leased import QUEUE_STORAGE, Leased, claim_index, leased_constraints
from qrtrack.models.metadata import Instant, Now, Table, TenantOwned, child_of, one_of


class Batch(TenantOwned, Table):
    """N codes for one order. From `codes_created_at` on, the batch may be printed, and packed until it is closed."""

    __tablename__ = "qr_batches"
    __table_args__ = (
        one_of("status", BatchStatus),
        CheckConstraint("quantity BETWEEN 1 AND 1000000", name="quantity"),
        CheckConstraint("units_per_case >= 1", name="units_per_case"),
        CheckConstraint("serial_mode IN ('sequential', 'random', 'imported')", name="serial_mode"),
        CheckConstraint("(serial_mode = 'sequential') = (first_number IS NOT NULL)", name="first_number"),
        CheckConstraint("items_created BETWEEN 0 AND quantity", name="items_created"),
        CheckConstraint("keys_hashed BETWEEN 0 AND keys_to_hash AND keys_to_hash <= quantity", name="keys_hashed"),
        CheckConstraint("(items_created = quantity) = (codes_created_at IS NOT NULL)", name="codes_created"),
        CheckConstraint(
            "CASE status WHEN 'creating' THEN codes_created_at IS NULL"
            " WHEN 'hashing' THEN codes_created_at IS NOT NULL"
            " WHEN 'ready' THEN codes_created_at IS NOT NULL AND keys_hashed = keys_to_hash"
            " ELSE error_message IS NOT NULL END",
            name="stage",
        ),
        CheckConstraint("(released_at IS NULL) = (released_by IS NULL)", name="released"),
        UniqueConstraint("manufacturer_org_id", "id"),
        Index("ix_qr_batches_gtin", "gtin", postgresql_where=text("gtin IS NOT NULL")),
        Index("ix_qr_batches_failed", "manufacturer_org_id", "id", postgresql_where=text("status = 'failed'")),
        Index("ix_qr_batches_manufacturer_org_id_order_id_id", "manufacturer_org_id", "order_id", "id"),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID]
    uniq_code: Mapped[str] = mapped_column(unique=True)
    product_name: Mapped[str]
    quantity: Mapped[int]
    units_per_case: Mapped[int]
    serial_mode: Mapped[str]
    serial_prefix: Mapped[str | None]
    first_number: Mapped[int | None] = mapped_column(BigInteger)
    random_tail_length: Mapped[int | None]
    key_length: Mapped[int]
    gtin: Mapped[str | None]
    lot: Mapped[str | None]
    expires_on: Mapped[date | None]
    status: Mapped[str]
    items_created: Mapped[int] = mapped_column(server_default=text("0"))
    keys_to_hash: Mapped[int]
    keys_hashed: Mapped[int] = mapped_column(server_default=text("0"))
    error_message: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    codes_created_at: Mapped[Instant | None]
    ready_at: Mapped[Instant | None]
    closed_at: Mapped[Instant | None]
    close_reason: Mapped[str | None]
    keys_forgotten_at: Mapped[Instant | None]
    notify: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))
    requires_release: Mapped[bool] = mapped_column(server_default=text("false"))
    released_at: Mapped[Instant | None]
    released_by: Mapped[str | None]


class BatchVariant(TenantOwned, Table):
    """The range of sequence numbers of one variant. A batch without variants has one range without a name.

    Packing starts to read the queue at `queue_head`: no code with a lower number waits there.
    """

    __tablename__ = "qr_batch_variants"
    __table_args__ = (
        child_of("qr_batches", {"batch_id": "id"}),
        UniqueConstraint("batch_id", "variant", postgresql_nulls_not_distinct=True),
        CheckConstraint("first_sequence >= 1 AND last_sequence >= first_sequence", name="sequence"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    first_sequence: Mapped[int] = mapped_column(primary_key=True)
    last_sequence: Mapped[int]
    variant: Mapped[str | None]
    queue_head: Mapped[int]


LIVE_STAGE = "stage = '{stage}' AND status IN ('queued', 'running')"


class BatchStage(Leased, Table):
    """One chunk of the codes to create, or of the root keys to hash."""

    __tablename__ = "qr_batch_stages"
    __table_args__ = (
        *leased_constraints(max_attempts=4),
        CheckConstraint("stage IN ('creating', 'hashing')", name="stage"),
        CheckConstraint("status IN ('queued', 'running', 'completed', 'failed')", name="status"),
        CheckConstraint("first_sequence >= 1 AND last_sequence >= first_sequence", name="sequence"),
        child_of("qr_batches", {"batch_id": "id"}),
        UniqueConstraint("batch_id", "stage", "first_sequence"),
        claim_index("ix_qr_batch_stages_creating", live=LIVE_STAGE.format(stage="creating")),
        claim_index("ix_qr_batch_stages_hashing", live=LIVE_STAGE.format(stage="hashing")),
        {"postgresql_with": QUEUE_STORAGE},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    batch_id: Mapped[UUID]
    stage: Mapped[str]
    first_sequence: Mapped[int]
    last_sequence: Mapped[int]


class SerialCounter(TenantOwned, Table):
    """The last sequential number of a prefix in one organisation, and the count of its random codes."""

    __tablename__ = "qr_serial_counters"
    __table_args__ = (CheckConstraint("last_number >= 0 AND random_codes >= 0", name="counted"),)

    manufacturer_org_id: Mapped[UUID] = mapped_column(primary_key=True)
    prefix: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    random_codes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
