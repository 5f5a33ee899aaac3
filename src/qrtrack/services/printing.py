"""What may be printed: addresses that lead to this service."""

from uuid import UUID

from qrtrack.domain.qr import check_printable
from qrtrack.settings import Settings


def printable_base_url(settings: Settings, organisation_id: UUID) -> str:
    """The public address of the organisation. In production, raises AddressNotPublic for one that nobody else can
    reach.
    """
    base_url = settings.public_addresses.base_url_of(organisation_id)
    if settings.qrtrack_env == "production":
        check_printable(base_url)
    return base_url
