"""Plans a label job: which units or cases get labels, on which format, and whether they may be printed."""

from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import NAMED_THINGS, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.labels.documents import FileFormat, Printing
from qrtrack.domain.labels.formats import Sheet
from qrtrack.domain.labels.label_jobs import (
    LABELS_IN_JOB,
    PRESET_OF,
    AlreadyPrinted,
    Labelled,
    LabelsReserved,
    NewLabelJob,
    NothingToPrint,
    RootKeysMissing,
)
from qrtrack.domain.root_keys import SEAL_BYTES
from qrtrack.repositories import Repositories
from qrtrack.repositories.labels.label_contents import LabelledBatch, LabelledUnit
from qrtrack.services.labels.label_contents import case_label, unit_label
from qrtrack.services.labels.label_formats import find_format


class Run(NamedTuple):
    """The numbers of the units or cases to label, from first to last."""

    first: int
    last: int
    labels: int


class Plan(NamedTuple):
    batch: LabelledBatch
    preset: str
    printing: Printing
    run: Run


async def plan_labels(repositories: Repositories, batch_id: UUID, new: NewLabelJob, base_url: str) -> Plan:
    batch = await repositories.label_contents.get_batch(batch_id)
    if batch.codes_created_at is None:
        raise BatchNotReady(batch.status)
    preset = new.preset or PRESET_OF[new.what, new.file_format]
    printing = await choose_printing(repositories, preset, new)
    find_run = _run_of_units if new.what is Labelled.UNITS else _run_of_cases
    return Plan(batch, preset, printing, await find_run(repositories, batch, new, printing, base_url))


async def choose_printing(repositories: Repositories, preset: str, new: NewLabelJob) -> Printing:
    """Returns the format and the options to print with. Raises InvalidInput if the format does not exist, or does not
    fit the kind of file.
    """
    label_format = await find_format(repositories, preset)
    if label_format is None:
        detail = f"Your organisation has no label format {preset}. List the label formats."
        raise invalid_field("/preset", detail, FieldCode.UNKNOWN_FORMAT, value=preset)
    if new.file_format is FileFormat.ZPL and isinstance(label_format, Sheet):
        detail = f"{preset} is a sheet, and ZPL printers print on rolls. Choose a roll, or `pdf`."
        raise invalid_field("/preset", detail, FieldCode.NOT_A_ROLL, value=preset)
    most = label_format.labels_per_page
    if new.start_at > most:
        detail = f"A page of {preset} has {most} labels: `start_at` is 1 to {most}."
        raise invalid_field("/start_at", detail, FieldCode.OUT_OF_RANGE, min=1, max=most)
    return Printing(label_format, new.file_format, new.start_at, new.at_tills, new.dpi, new.calibration)


async def _run_of_units(
    repositories: Repositories, batch: LabelledBatch, new: NewLabelJob, printing: Printing, base_url: str
) -> Run:
    first = await _sequence_of(repositories, batch.id, new.first_code, "first_code", default=1)
    last = await _sequence_of(repositories, batch.id, new.last_code, "last_code", default=batch.quantity)
    _check_range(first, last, "last_code", f"{new.first_code}-{new.last_code}")
    units = await repositories.label_contents.summarise_units(batch.id, first, last)
    if not units.labels:
        raise NothingToPrint
    if new.with_root_key and units.without_key:
        raise RootKeysMissing(units.without_key)
    # Tries the longest label now: a format that is too small must be refused before half of the labels are drawn.
    longest = LabelledUnit(first, units.longest_code, units.longest_variant, None)
    # No key is opened for this: the length of the longest seal tells the length of the longest key.
    longest_key = "W" * (units.longest_seal - SEAL_BYTES) if new.with_root_key else None
    printing.place(unit_label(base_url, batch, longest, longest_key))
    await refuse_double_prints(repositories, batch.id, first, last, reason=new.reason)
    return Run(first, last, units.labels)


async def _sequence_of(
    repositories: Repositories, batch_id: UUID, code: str | None, field: str, *, default: int
) -> int:
    if code is None:
        return default
    number = await repositories.label_contents.find_sequence(batch_id, code)
    if number is None:
        detail = f"{code} is not a code of this batch."
        raise invalid_field(f"/{field}", detail, FieldCode.NOT_IN_BATCH, value=code)
    return number


async def _run_of_cases(
    repositories: Repositories, batch: LabelledBatch, new: NewLabelJob, printing: Printing, _base_url: str
) -> Run:
    existing = await repositories.label_contents.last_case(batch.id)
    first, last = new.first_case or 1, new.last_case or existing
    for number, field in ((first, "first_case"), (last, "last_case")):
        if number > existing:
            detail = f"The batch has cases 1 to {existing}, and no case {number}."
            raise invalid_field(f"/{field}", detail, FieldCode.UNKNOWN_CASE, value=str(number))
    _check_range(first, last, "last_case", f"{first}-{last}")
    [sample] = await repositories.label_contents.list_cases(batch.id, after=last - 1, last=last, limit=1)
    printing.place(case_label(batch, sample))
    return Run(first, last, last - first + 1)


def _check_range(first: int, last: int, field: str, text: str) -> None:
    if last < first:
        detail = f"The range {text} begins after its end. Exchange its two ends."
        raise invalid_field(f"/{field}", detail, FieldCode.RANGE_BACKWARDS, value=text)
    if last - first >= LABELS_IN_JOB:
        detail = (
            f"The range has {last - first + 1} labels, and a job draws at most {LABELS_IN_JOB}. Submit several jobs, "
            "each with a part of the range."
        )
        raise invalid_field(f"/{field}", detail, FieldCode.TOO_MANY, max=LABELS_IN_JOB)


async def refuse_double_prints(
    repositories: Repositories, batch_id: UUID, first: int, last: int, *, reason: str | None
) -> None:
    reserving = await repositories.label_jobs.find_reserving(batch_id, first, last)
    if reserving is not None:
        raise LabelsReserved(reserving)
    if reason is None:
        await refuse_printed(repositories, batch_id, first, last)


async def refuse_printed(repositories: Repositories, batch_id: UUID, first: int, last: int) -> None:
    """Raises AlreadyPrinted."""
    printed = await repositories.label_contents.list_printed(batch_id, first, last, limit=NAMED_THINGS)
    if printed:
        ranges = [{"first_code": run.first_code, "last_code": run.last_code, "units": run.units} for run in printed]
        raise AlreadyPrinted(ranges, count=printed[0].printed_count)
