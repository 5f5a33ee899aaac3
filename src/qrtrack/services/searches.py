"""Searches units, cases, jobs and batches of an organisation by a scanned or typed text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.code_lists import ListedScan, foreign_scans
from qrtrack.domain.packing.near_codes import near_codes
from qrtrack.domain.scans import Scan, ScanKind, read_scan
from qrtrack.repositories.searches import NEWEST_BATCHES, FoundThing

MOST_RESULTS: Final = 20
MOST_NEAR: Final = 5
LONGEST_NAME: Final = 255

WHAT_CAN_BE_FOUND: Final = (
    "Search for the code of a unit, a master code, a uniq code, the content of a QR or GS1 symbol, the id of a job, "
    f"batch or order, or a part of a product's name (among the newest {NEWEST_BATCHES:,} batches)."
)
HINTS: Final = {
    ScanKind.LOGISTIC_UNIT: "This is an SSCC, and cases are not stored with SSCCs: scan the master code of the case.",
    ScanKind.ADDRESS: "No QR symbol of this service contains this address, or the symbol is damaged: scan it again.",
    ScanKind.UNIT: "Your organisation has no such unit, or the label is not from this service: type the code of the "
    "unit to make sure.",
}


@dataclass(frozen=True, slots=True)
class Result:
    """`names_other_batch`: the scanned symbol names another batch than the one that has this code."""

    found: FoundThing
    names_other_batch: bool = False


@dataclass(frozen=True, slots=True)
class SearchResults:
    """The results, best first. If nothing was found, `hint` says what can be searched, `hint_about` is the kind of
    thing that the text looks like, and `near` are units and cases with almost the same code.
    """

    read_as: ScanKind
    results: Sequence[Result]
    hint: str | None
    hint_about: ScanKind
    near: Sequence[FoundThing] = ()


async def search(database: Database, *, caller: Caller, text: str) -> SearchResults:
    """Raises InvalidInput if the text is empty, or contains only characters that scanners add."""
    scan = read_scan(text)
    if not scan.text:
        raise invalid_field("/query/q", "There is nothing to search for. Scan or type something.", FieldCode.REQUIRED)
    async with database.read(tenant=caller.organisation_id) as repositories:
        found = await repositories.searches.find(
            names=_names(scan),
            id_=_id(scan.text),
            gtin=scan.gtin,
            lot=scan.lot,
            product=_product(scan),
            limit=MOST_RESULTS,
        )
        near = () if found else await repositories.searches.find_codes(near_codes(scan.text), limit=MOST_NEAR)
    results, about = _sorted_out(scan, found), ScanKind.LOGISTIC_UNIT if scan.sscc else scan.kind
    return SearchResults(scan.kind, results, None if results else _hint(about), about, near)


def _hint(about: ScanKind) -> str:
    return f"{HINTS.get(about, 'Nothing of your organisation matches.')} {WHAT_CAN_BE_FOUND}"


def _names(scan: Scan) -> list[str]:
    """Returns the codes to search for. A text of two equal halves may be one code, or a shorter code that the scanner
    sent twice: both are searched.
    """
    names = [scan.code, scan.uniq_code, scan.sscc]
    if scan.kind == ScanKind.TEXT and scan.text.isascii() and scan.text.isprintable():
        names.append(scan.text.upper())
    if scan.kind == ScanKind.CODE and scan.text[: len(scan.text) // 2] * 2 == scan.text:
        names.append(scan.text[: len(scan.text) // 2])
    return [name for name in dict.fromkeys(names) if name]


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _product(scan: Scan) -> str | None:
    may_be_name = scan.kind in {ScanKind.CODE, ScanKind.TEXT} and len(scan.text) <= LONGEST_NAME
    return scan.text if may_be_name and scan.text.isprintable() else None


def _sorted_out(scan: Scan, found: Sequence[FoundThing]) -> list[Result]:
    """Drops the batch from the results if the symbol names it as the batch of a unit that was found."""
    results = [Result(thing, _names_other_batch(scan, thing)) for thing in found]
    units = [result for result in results if result.found.kind == "unit"]
    if scan.kind == ScanKind.UNIT and units and not any(unit.names_other_batch for unit in units):
        return units
    return sorted(results, key=lambda result: result.names_other_batch)


def _names_other_batch(scan: Scan, thing: FoundThing) -> bool:
    return thing.code is not None and bool(foreign_scans([ListedScan("", thing.code, scan)], thing))
