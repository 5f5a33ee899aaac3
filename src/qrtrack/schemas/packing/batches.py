"""Batches: creating, importing, describing, closing them."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, computed_field
from pydantic_core import PydanticCustomError

from qrtrack.domain.errors import invalid_field, require_exactly_one
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.batches import NewBatch, SerialMode, Variant
from qrtrack.domain.packing.imports import ROWS_LIMIT, VARIANTS_LIMIT
from qrtrack.domain.packing.numbering import PREFIX_PATTERN
from qrtrack.domain.packing.states import BatchStatus, CodeStatus
from qrtrack.domain.qr import LOT_PATTERN, normalise_gtin
from qrtrack.models import Batch
from qrtrack.schemas.base import DIGITS, ONE_LINE, Answer, Body, Day, Id, Instant, Name, Part, Reason, View
from qrtrack.schemas.notifications import NotifyRequest
from qrtrack.services.packing.batches import BatchDetails, batch_progress
from qrtrack.services.packing.imports import BatchImport

BATCHES_PATH: Final = "/api/manufacturer/batches"


def _no_dots(lot: str) -> str:
    if lot in {".", ".."}:
        raise PydanticCustomError(FieldCode.BAD_LOT, "A lot cannot be . or ..: browsers drop them from an address")
    return lot


Quantity = Annotated[int, Field(ge=1, le=ROWS_LIMIT)]
Gtin = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8, max_length=14, pattern=ONE_LINE)]
Lot = Annotated[str, StringConstraints(pattern=LOT_PATTERN), AfterValidator(_no_dots)]
VariantName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=ONE_LINE)]


class VariantQuantity(Part):
    """A variant of the product, and how many codes of the batch have it."""

    variant: VariantName = Field(examples=["10g"])
    quantity: Quantity


class BatchRequest(Body):
    """A batch of codes. Its size is given by `quantity` or by `variants`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "order_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10",
                "product_name": "Gold 1 g",
                "quantity": 100,
                "serial_prefix": "SKA",
                "units_per_case": 100,
            }
        }
    )

    order_id: Id
    product_name: Name
    quantity: Quantity | None = Field(None, description="How many codes: 1 to 1,000,000. Leave out with `variants`.")
    serial_prefix: Annotated[str, StringConstraints(pattern=PREFIX_PATTERN)] = Field(
        description="1 to 8 of A-Z and 0-9, the last a letter.", examples=["SKA"]
    )
    units_per_case: Quantity = 100
    serial_mode: Literal["sequential", "random"] = Field(
        "sequential",
        description="`random` serials cannot be guessed, as EU rules require. `sequential` ones can.",
    )
    gtin: Gtin | None = Field(None, description="GTIN-8, -12, -13 or -14, with its check digit.")
    lot: Lot | None = None
    expires_on: Day | None = None
    variants: list[VariantQuantity] | None = Field(None, min_length=1, max_length=VARIANTS_LIMIT)
    requires_release: bool | None = Field(
        None,
        description="Whether consumers' checks answer `not_released` until the batch is released for sale. Left out: "
        "as the service is set up.",
    )
    notify: NotifyRequest | None = None

    def new_batch(self, *, requires_release: bool) -> NewBatch:
        """Builds the batch. `requires_release` is used if the request does not say it. Raises InvalidInput if fields
        contradict each other, or for a wrong check digit of the GTIN.
        """
        require_exactly_one(quantity=self.quantity, variants=self.variants)
        variants = self._variants()
        _refuse_repeats(variants)
        if sum(part.quantity for part in variants) > ROWS_LIMIT:
            most = f"A batch has at most {ROWS_LIMIT:,} codes over all its variants."
            raise invalid_field("/variants", most, FieldCode.TOO_MANY, max=ROWS_LIMIT)
        return NewBatch(
            order_id=self.order_id,
            product_name=self.product_name,
            serial_prefix=self.serial_prefix,
            serial_mode=SerialMode(self.serial_mode),
            units_per_case=self.units_per_case,
            variants=variants,
            gtin=self.gtin and normalise_gtin(self.gtin),
            lot=self.lot,
            expires_on=self.expires_on,
            requires_release=requires_release if self.requires_release is None else self.requires_release,
        )

    def _variants(self) -> tuple[Variant, ...]:
        if self.quantity is not None:
            return (Variant(None, self.quantity),)
        return tuple(Variant(part.variant, part.quantity) for part in self.variants or ())


def _refuse_repeats(variants: Sequence[Variant]) -> None:
    names = [part.variant for part in variants]
    for place, name in enumerate(names):
        if name in names[:place]:
            detail = f"The variant {name} is listed twice."
            raise invalid_field(f"/variants/{place}/variant", detail, FieldCode.REPEATED)


class ImportFields(Body):
    """The fields of an import's form, which come as text with the file."""

    model_config = ConfigDict(strict=False)

    order_id: UUID
    product_name: Name
    units_per_case: Annotated[int, DIGITS, Field(ge=1, le=ROWS_LIMIT)] = 100
    gtin: Gtin | None = None
    lot: Lot | None = None

    def batch_import(self) -> BatchImport:
        """Returns the batch to import. Raises InvalidInput if the GTIN's check digit is wrong."""
        return BatchImport(
            order_id=self.order_id,
            product_name=self.product_name,
            units_per_case=self.units_per_case,
            gtin=self.gtin and normalise_gtin(self.gtin),
            lot=self.lot,
        )


class BatchCreated(Answer):
    """The batch. Poll `status_url`: as soon as `status` is `hashing` or `ready`, its codes exist. `first_code` and
    `last_code` are null in random mode.
    """

    batch_id: UUID
    status: BatchStatus
    quantity: int
    uniq_code: str = Field(examples=["K7QWZ4MHT2XA"])
    first_code: str | None = Field(examples=["SKA000001"])
    last_code: str | None = Field(examples=["SKA000100"])

    @computed_field(description="The address of the batch; also in the header `Location`.")  # type: ignore[prop-decorator]
    @property
    def status_url(self) -> str:
        return f"{BATCHES_PATH}/{self.batch_id}"


class BatchSummary(View):
    """A batch as lists show it."""

    batch_id: UUID = Field(validation_alias="id")
    order_id: UUID
    product_name: str
    status: BatchStatus
    progress: int = Field(0, ge=0, le=100, description="Percent over both stages, creating and hashing.")
    quantity: int
    units_per_case: int
    uniq_code: str
    serial_mode: SerialMode
    serial_prefix: str | None
    gtin: str | None
    lot: str | None
    expires_on: date | None
    items_created: int
    keys_to_hash: int
    keys_hashed: int
    error_message: str | None
    created_by: str
    created_at: Instant
    updated_at: Instant
    codes_created_at: Instant | None = Field(
        description="From this time on the batch may be printed, and packed until it is closed."
    )
    ready_at: Instant | None
    closed_at: Instant | None
    close_reason: str | None
    keys_forgotten_at: Instant | None
    requires_release: bool = Field(
        description="Whether the batch must be released for sale. A batch without this counts as released."
    )
    released_at: Instant | None = Field(
        description="The time from which the batch is on sale; it may be in the future."
    )
    released_by: str | None

    @classmethod
    def of(cls, batch: Batch) -> "BatchSummary":
        return BatchSummary.model_validate(batch).model_copy(update={"progress": batch_progress(batch)})


class CaseCounts(View):
    """How many master cases a batch has."""

    total: int
    packed: int
    open: int


class BatchDetail(BatchSummary):
    """A batch with its counts."""

    eta_seconds: int | None = Field(
        description="Seconds until `ready`, at the rate of the last two minutes; null if unknown."
    )
    total_items: int
    unique_root_keys: int
    unique_uniq_codes: int
    by_status: Mapping[CodeStatus, int]
    cases: CaseCounts
    variants: list[VariantQuantity]


class BatchAnswer(Answer):
    """One batch."""

    batch: BatchDetail

    @classmethod
    def of(cls, details: BatchDetails) -> Self:
        counts = details.counts
        batch = BatchDetail(
            **dict(BatchSummary.of(details.batch)),
            eta_seconds=details.eta_seconds,
            total_items=counts.total_items,
            unique_root_keys=counts.unique_root_keys,
            unique_uniq_codes=counts.unique_uniq_codes,
            by_status=counts.by_status,
            cases=CaseCounts(
                total=counts.cases_total,
                packed=counts.cases_packed,
                open=counts.cases_total - counts.cases_packed,
            ),
            variants=[VariantQuantity(variant=part.variant, quantity=part.quantity) for part in details.variants],
        )
        return cls(batch=batch)


class CloseRequest(Body):
    """Why the batch is closed."""

    reason: Reason = Field(examples=["Run ended short"])


class BatchClosedAnswer(Answer):
    """How many codes became void, and which jobs were cancelled."""

    batch_id: UUID
    voided: int
    cancelled_job_ids: list[UUID] = Field(validation_alias="cancelled_jobs")


class BatchRetriedAnswer(Answer):
    """The stage in which the batch continues."""

    batch_id: UUID
    status: BatchStatus


class KeysForgottenAnswer(Answer):
    """How many clear keys were deleted."""

    batch_id: UUID
    forgotten: int


class ReconciliationAnswer(Answer):
    """Every code counted once: it counts in the first place that fits, in this order. The seven places sum to
    `generated`.
    """

    batch_id: UUID
    generated: int
    void: int = Field(description="Voided by a person.")
    in_case: int
    scanned_without_case: int
    prepared: int
    excluded: int = Field(
        description="Listed as damaged or found missing. They count here also after the batch was closed."
    )
    voided_by_closing: int
    remaining: int
    differences: list[str] = Field(description="Serials that fit no place. Normally empty; an entry means a defect.")
