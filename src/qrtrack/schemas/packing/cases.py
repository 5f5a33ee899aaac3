"""Master cases as lists and answers show them."""

from qrtrack.domain.packing.states import CaseStatus, Completeness
from qrtrack.schemas.base import Instant, ListQuery, Page, View
from qrtrack.schemas.packing.batches import VariantName


class CaseInfo(View):
    """A case as packing returns it. `completeness` is null while the case is empty."""

    master_code: str
    case_number: int
    expected_units: int
    actual_units: int
    completeness: Completeness | None
    first_code: str | None
    last_code: str | None


class ListedCase(CaseInfo):
    """A case, with who packed it, when and where."""

    status: CaseStatus
    variant: str | None
    packed_at: Instant | None
    packed_by: str | None
    station: str | None


class CasePage(Page):
    """Cases in the order of their numbers."""

    cases: list[ListedCase]


class CaseFilter(ListQuery):
    """Which cases of a batch to list."""

    status: CaseStatus | None = None
    variant: VariantName | None = None
