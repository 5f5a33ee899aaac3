"""Reads the settings of a process from its environment, and makes the secrets that are missing."""

from pathlib import Path

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from qrtrack.settings import Settings
from qrtrack.settings.secrets import SettingsError, kept_secret


def load_settings(*, with_secrets: bool = True) -> Settings:
    """Loads the settings of this process. Raises SettingsError with one line for each bad setting.

    `with_secrets` makes the missing secrets. Processes that start at the same time on the same data folder get the same
    ones.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(detail) for detail in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{Path('.env').absolute()} cannot be read ({error}): correct it, or remove it.") from error
    missing = [name for name, secret in settings.needed_secrets.items() if secret is None and with_secrets]
    folder = _secrets_folder(settings)
    return settings.model_copy(update={name: SecretStr(kept_secret(folder, name)) for name in missing})


def origin_of_jwt_secret(settings: Settings) -> str:
    """Returns where this process has its JWT_SECRET from, for a person whose token a server refuses."""
    kept = _secrets_folder(settings) / "jwt_secret"
    try:
        is_kept = settings.jwt_secret == SecretStr(kept.read_text("ascii").strip())
    except (OSError, UnicodeDecodeError):
        is_kept = False
    return f"the secret in {kept}" if is_kept else f"JWT_SECRET of the environment or of {Path('.env').absolute()}"


def _secrets_folder(settings: Settings) -> Path:
    return settings.qrtrack_data_dir.absolute() / "secrets"


def _complaint(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    name = "_".join(str(part) for part in error["loc"][:1]).upper()
    return f"{name} cannot be used: {message[:1].lower()}{message[1:]}." if name else message
