"""`qrtrack token --link` and `qrtrack sessions revoke`."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import typer

from qrtrack.commands import start
from qrtrack.commands.running import run_on_database
from qrtrack.domain.identity import Caller, Role, normal_user
from qrtrack.services.console_sessions import make_sign_in_code, revoke_sessions


def print_link(*, organisation_id: UUID, user: UUID | None, roles: Sequence[Role], base_url: str | None) -> None:
    settings = start(quiet=True)
    if user is None:
        user = uuid4()
        typer.echo(f"No --user is given: the link is for an invented user, {user}.", err=True)
    caller = Caller(str(user), organisation_id, frozenset(roles))
    code = run_on_database(settings, lambda database: make_sign_in_code(database, caller))
    typer.echo("The link signs in one person, once, within 10 minutes.", err=True)
    # Browsers send no fragment, so neither a log nor a link preview gets the code.
    typer.echo(f"{(base_url or settings.public_base_url).rstrip('/')}/console/sign-in#{code}")


def revoke(*, organisation_id: UUID, user: str | None) -> None:
    settings = start(quiet=True, with_secrets=False)
    user_id = user and normal_user(user)
    ended = run_on_database(
        settings, lambda database: revoke_sessions(database, organisation_id=organisation_id, user_id=user_id)
    )
    typer.echo(f"Signed out: {ended}")
