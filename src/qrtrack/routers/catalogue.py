"""The catalogue of problem types: every refusal of the program by its `type`, with the schema of its document."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from pydantic import BaseModel, create_model

from qrtrack.domain.claims import LeaseLost
from qrtrack.domain.errors import Conflict, DomainError, Forbidden, Throttled, UpstreamFailed, UpstreamTimeout
from qrtrack.domain.labels.print_jobs import PrinterNotReached, PrinterNotReady
from qrtrack.repositories.constraints import ClaimedMeanwhile
from qrtrack.routers.http_problems import HTTP_PROBLEMS, INTERNAL_ERROR, HttpProblem
from qrtrack.routers.problems import Refusal, status_of
from qrtrack.schemas.problem import InternalErrorMembers, NoMembers, ProblemBase, members_of
from qrtrack.services.notifications import NotSent
from qrtrack.services.printed_hosts import PrintedHostDropped
from qrtrack.services.secret_key import SecretKeyChanged

URN: Final = "urn:qrtrack:problem:"
# These never reach a caller: mere categories, errors that the worker raises and catches itself, and errors that prevent
# a start.
INTERNAL: Final = frozenset(
    {
        DomainError,
        Conflict,
        Forbidden,
        Throttled,
        UpstreamFailed,
        PrinterNotReached,
        PrinterNotReady,
        ClaimedMeanwhile,
        UpstreamTimeout,
        LeaseLost,
        NotSent,
        PrintedHostDropped,
        SecretKeyChanged,
    }
)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One `type`. `meaning`: a sentence for people. `members`: what its documents contain besides the common
    members.
    """

    slug: str
    title: str
    status: int
    meaning: str
    members: type[BaseModel]

    @property
    def schema_name(self) -> str:
        return "".join(word.capitalize() for word in self.slug.split("-")) + "Problem"

    def document(self) -> type[BaseModel]:
        """Returns the schema of its documents. `type` and `status` are constants in it."""
        fields: dict[str, Any] = {
            "type": (Literal[f"{URN}{self.slug}"], ...),
            "status": (Literal[self.status], ...),
        }
        return create_model(self.schema_name, __base__=(self.members, ProblemBase), __doc__=self.meaning, **fields)


def _raised() -> Iterator[type[DomainError]]:
    """Yields every refusal of the loaded program. A subclass without its own slug has its parent's type."""
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        refusal = waiting.pop()
        waiting += refusal.__subclasses__()
        is_ours = refusal.__module__.startswith("qrtrack.") and "slug" in vars(refusal)
        if is_ours and refusal not in INTERNAL:
            yield refusal


def problem_type(refusal: Refusal) -> ProblemType:
    if isinstance(refusal, HttpProblem):
        members = InternalErrorMembers if refusal == INTERNAL_ERROR else NoMembers
        return ProblemType(refusal.slug, refusal.title, status_of(refusal), refusal.detail, members)
    meaning = " ".join((refusal.__doc__ or "").split("\n\n")[0].split())
    return ProblemType(refusal.slug, refusal.title, status_of(refusal), meaning, members_of(refusal))


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, ProblemType]:
    """Returns the problem types by slug, in the order of statuses. Call it after the routers are loaded, so that all
    refusals are known.
    """
    refusals: list[Refusal] = [*_raised(), *(http for _, http in HTTP_PROBLEMS)]
    found = map(problem_type, refusals)
    ordered = sorted(found, key=lambda known: (known.status, known.slug))
    return {known.slug: known for known in ordered}
