"""Reports by consumers, without an account."""

from datetime import UTC, datetime

from qrtrack.database import Database
from qrtrack.domain.errors import NotFound, Throttled
from qrtrack.domain.scans import read_code, read_uniq_code
from qrtrack.domain.verification.networks import HashKeys, Network
from qrtrack.domain.verification.reports import ReportReason
from qrtrack.repositories.verification.reports import NewReport

RETRY_SECONDS = 3600


class TooManyReports(Throttled):
    """The network or the batch has reached its limit of reports. This report is not stored."""

    slug = "too-many-reports"
    title = "Too many reports"

    def __init__(self) -> None:
        super().__init__(
            "Your network has sent many reports already, or many people have reported this product. Try again in an "
            "hour, or tomorrow if it is refused again.",
            retry_after=RETRY_SECONDS,
        )


async def report(
    database: Database,
    *,
    hashes: HashKeys,
    network: Network,
    uniq_code: str,
    code: str | None,
    reason: ReportReason,
    message: str | None,
) -> None:
    """Raises NotFound and TooManyReports."""
    async with database.autocommit() as repositories:
        batch = await repositories.verified_units.find_batch(read_uniq_code(uniq_code))
    if batch is None:
        raise NotFound("No product has this code. Compare it with the address on the pack.")
    new = NewReport(
        organisation_id=batch.manufacturer_org_id,
        batch_id=batch.id,
        code=None if code is None else read_code(code),
        reason=reason,
        message=message or None,
        network=hashes.of_today(network.name, datetime.now(UTC).date()),
    )
    async with database.write(tenant=batch.manufacturer_org_id) as repositories:
        if not await repositories.verification_reports.add(new):
            raise TooManyReports
