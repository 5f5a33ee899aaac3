"""`qrtrack token`."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import typer

from qrtrack.commands import give_up, start
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.settings import SettingsError
from qrtrack.settings.loading import origin_of_jwt_secret


def print_token(*, organisation_id: UUID, user: UUID | None, roles: Sequence[Role], hours: float) -> None:
    settings = start()
    if settings.jwt_secret is None:
        give_up(SettingsError("JWT_SECRET is not set: tokens come from the identity system of JWT_JWKS_URL."))
    if user is None:
        user = uuid4()
        typer.echo(f"No --user is given: the token is for an invented user, {user}.", err=True)
    typer.echo(
        f"Signed with {origin_of_jwt_secret(settings)}. A server with another JWT_SECRET refuses the token.", err=True
    )
    typer.echo(
        sign_token(
            settings.jwt_secret.get_secret_value(),
            organisation_id=organisation_id,
            user_id=str(user),
            roles=roles,
            hours=hours,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
        )
    )
