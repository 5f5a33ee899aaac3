"""Translates violated constraints, by their names, into domain errors."""

from collections.abc import Callable

from qrtrack.domain.errors import Conflict, DomainError
from qrtrack.domain.labels.printers import PrinterNameTaken


class CodeTaken(Conflict):
    """One of the imported codes was created at this moment. Nothing was imported: send the file again."""

    slug = "code-taken"
    title = "A code exists already"
    message = (
        "One of these codes exists already: it was created in the meantime. Nothing was imported. Send the file "
        "again: the answer then names the code."
    )


class DispatchInProgress(Conflict):
    """Another request is dispatching the settlement."""

    slug = "dispatch-in-progress"
    title = "The settlement is being dispatched"
    message = "Another request dispatched this settlement at the same moment. Look at its attempts first."


class ReferenceLocked(Conflict):
    """Another attempt holds this reference: the bank may have paid it, or may still pay it. Nothing was sent."""

    slug = "reference-locked"
    title = "A reference has been sent already"
    message = (
        "Another request dispatched a reference of this settlement at the same moment. Nothing was sent. Dispatch "
        "again: the answer names the reference."
    )


class ClaimedMeanwhile(Conflict):
    """Another worker claimed work that must not run at the same time as this work. Claim again."""

    slug = "claimed-meanwhile"
    title = "Claimed in the meantime"
    message = "Another worker has just claimed work that must not run at the same time. Claim again."


REFUSALS: dict[str, Callable[[], DomainError]] = {
    "uq_qr_codes_manufacturer_org_id_code": CodeTaken,
    "uq_akselgate_attempt_number": DispatchInProgress,
    "uq_akselgate_latest": DispatchInProgress,
    "pk_akselgate_open": DispatchInProgress,
    "uq_akselgate_reference_locked": ReferenceLocked,
    "uq_printers_manufacturer_org_id_name": PrinterNameTaken,
    "uq_print_jobs_running": ClaimedMeanwhile,
}


def domain_error(error: BaseException | None) -> DomainError | None:
    """Returns None if no constraint of REFUSALS is violated: such an error is a defect."""
    refusal = REFUSALS.get(getattr(error, "constraint_name", None) or "")
    return refusal() if refusal else None
