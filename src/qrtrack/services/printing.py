"""What may be printed: addresses that lead to this service."""

from qrtrack.domain.qr import check_printable
from qrtrack.settings import Settings


def printable_base_url(settings: Settings) -> str:
    """The public address of the service. In production, raises AddressNotPublic for one that nobody else can reach."""
    if settings.qrtrack_env == "production":
        check_printable(settings.public_base_url)
    return settings.public_base_url
