"""Label formats: the presets of the program, and the organisation's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qrtrack.database import Database
from qrtrack.domain.errors import FieldError, InvalidInput, NotFound, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import (
    FORMATS_OF_ORGANISATION,
    PRESETS,
    LabelFormat,
    Sheet,
    definition_of,
    format_of,
)
from qrtrack.domain.labels.printers import FormatInUse
from qrtrack.repositories import Repositories


class TooManyFormats(InvalidInput):
    """The organisation already has the maximum number of label formats of its own."""

    slug = "too-many-formats"
    title = "Too many label formats"

    def __init__(self) -> None:
        detail = f"An organisation has at most {FORMATS_OF_ORGANISATION} label formats. Delete one that nobody uses."
        error = FieldError("/path/name", detail, FieldCode.TOO_MANY, {"max": FORMATS_OF_ORGANISATION})
        super().__init__(detail, errors=[error])


@dataclass(frozen=True, slots=True)
class ListedFormat:
    name: str
    is_preset: bool
    label_format: dict[str, Any]


async def list_label_formats(database: Database, *, caller: Caller) -> Sequence[ListedFormat]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        own = await repositories.label_formats.list()
    presets = [ListedFormat(name, is_preset=True, label_format=definition_of(kept)) for name, kept in PRESETS.items()]
    return [*presets, *(ListedFormat(row.name, is_preset=False, label_format=row.definition) for row in own)]


async def store_label_format(
    database: Database, *, caller: Caller, name: str, label_format: LabelFormat
) -> ListedFormat:
    """Creates or replaces the format. Label jobs that were submitted before keep the old one. Printers that name the
    format print the labels of cases with the new one. Raises InvalidInput, TooManyFormats, FormatInUse.
    """
    _refuse_preset(name)
    if isinstance(label_format, Sheet):
        label_format.check()
    definition = definition_of(label_format)
    async with database.write(tenant=caller.organisation_id) as repositories:
        if isinstance(label_format, Sheet):
            await _refuse_used(repositories, caller, name, [FileFormat.ZPL])
        if not await repositories.label_formats.store(
            name,
            definition,
            organisation_id=caller.organisation_id,
            actor=caller.user_id,
            most=FORMATS_OF_ORGANISATION,
        ):
            raise TooManyFormats
        await repositories.trace.add("label_format.stored", caller=caller, details={"name": name})
    return ListedFormat(name, is_preset=False, label_format=definition)


async def delete_label_format(database: Database, *, caller: Caller, name: str) -> None:
    """Raises InvalidInput, NotFound, FormatInUse."""
    _refuse_preset(name)
    async with database.write(tenant=caller.organisation_id) as repositories:
        await _refuse_used(repositories, caller, name, list(FileFormat))
        if not await repositories.label_formats.delete(name):
            raise NotFound(f"Your organisation has no label format {name}.")
        await repositories.trace.add("label_format.deleted", caller=caller, details={"name": name})


async def get_label_format(database: Database, *, caller: Caller, name: str) -> LabelFormat:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        found = await find_format(repositories, name)
    if found is None:
        raise NotFound(f"Your organisation has no label format {name}.")
    return found


async def find_format(repositories: Repositories, name: str) -> LabelFormat | None:
    """Returns a preset, or one of the organisation's own formats."""
    if name in PRESETS:
        return PRESETS[name]
    definition = await repositories.label_formats.find(name)
    return None if definition is None else format_of(definition)


async def _refuse_used(repositories: Repositories, caller: Caller, name: str, kinds: Sequence[FileFormat]) -> None:
    """Raises FormatInUse. A request that gives a printer the format at the same time waits for the end."""
    await repositories.printers.lock_all(caller.organisation_id)
    if printers := await repositories.printers.names_with_format(name, kinds):
        raise FormatInUse(printers)


def _refuse_preset(name: str) -> None:
    if name in PRESETS:
        detail = f"{name} is a preset and cannot be changed. Choose another name for your own format."
        raise invalid_field("/path/name", detail, FieldCode.PRESET_NAME, value=name)
