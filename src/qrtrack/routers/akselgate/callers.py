"""Who may use settlement dispatch. Only one organisation has an account at the gateway; all others get 404."""

from typing import Annotated

from fastapi import Depends

from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller, Permission
from qrtrack.routers.dependencies import Gate, require
from qrtrack.runtime import Runtime


def check_account_holder(runtime: Runtime, caller: Caller) -> None:
    """Raises NotFound for every other organisation. Raises it for all if AKSELGATE_ORGANISATION is not set."""
    if caller.organisation_id != runtime.settings.akselgate_organisation:
        raise NotFound("Your organisation has no account at the gateway.")


def _check_finance(runtime: Runtime, caller: Caller) -> None:
    check_account_holder(runtime, caller)
    require(caller, Permission.DISPATCH)


def _check_resolver(runtime: Runtime, caller: Caller) -> None:
    check_account_holder(runtime, caller)
    require(caller, Permission.RESOLVE_AND_REPLAY)


def _check_sender(runtime: Runtime, caller: Caller) -> None:
    """Raises NotFound for other organisations. If AKSELGATE_ORGANISATION is not set, the dispatch continues: its
    refusal then names all missing settings.
    """
    if runtime.settings.akselgate_organisation is not None:
        check_account_holder(runtime, caller)
    require(caller, Permission.DISPATCH)


Finance = Annotated[Caller, Depends(Gate(_check_finance))]
Resolver = Annotated[Caller, Depends(Gate(_check_resolver))]
Sender = Annotated[Caller, Depends(Gate(_check_sender))]
