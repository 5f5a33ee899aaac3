"""The GS1 company prefixes of an organisation."""

from typing import Annotated

from pydantic import StringConstraints

from qrtrack.domain.packing.gtin_owners import PREFIX_PATTERN
from qrtrack.schemas.base import Answer, Instant, View

CompanyPrefix = Annotated[str, StringConstraints(pattern=PREFIX_PATTERN)]


class Gs1Prefix(View):
    """A company prefix of the organisation. GTINs that begin with it are refused in batches of other organisations."""

    prefix: str
    created_by: str
    created_at: Instant


class Gs1PrefixList(Answer):
    """All company prefixes of the organisation."""

    gs1_prefixes: list[Gs1Prefix]


class Gs1PrefixAnswer(Gs1Prefix, Answer):
    """The prefix as it is claimed."""


class Gs1PrefixDeleted(Answer):
    """The prefix is deleted. GTINs that batches of the organisation use still belong to the organisation."""

    prefix: str
