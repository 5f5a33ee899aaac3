import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr, ValidationError

from qrtrack.settings import Settings, SettingsError
from qrtrack.settings.loading import load_settings
from ticking import HANG_SECONDS

RANDOM = {
    "JWT_SECRET": "q8Zr4vLx0TnB7mWcYd2HsKfJp6GuEa9R",
    "SECRET_KEY": "0f4b1d7c9e2a4c8fb35d6017e8a9c2d4f1b0a3e5c7d9",
    "CRON_SECRET": "Xw3-Lp9_Vt5-Ks8_Dr1-Zn6_Hb2-Mc4_Gy7",
}
PRODUCTION = RANDOM | {"QRTRACK_ENV": "production", "DATABASE_URL": "postgresql://app@db.example/app"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def _set(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_development_makes_its_secrets_once_and_names_the_file(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        first = load_settings()
    said = caplog.text
    caplog.clear()
    second = load_settings()

    assert first == second
    assert f"JWT_SECRET is not set, and there was none in {Path.cwd()}/var/secrets: made a new one there" in said
    assert all(f"{name} is not set, and there was none" in said for name in ("JWT_SECRET", "SECRET_KEY", "CRON_SECRET"))
    assert caplog.text == ""
    for secret in first.needed_secrets.values():
        assert secret is not None
        assert len(secret.get_secret_value()) >= 32
        assert secret.get_secret_value() not in said


def test_a_file_of_settings_that_cannot_be_read_is_named() -> None:
    Path(".env").write_bytes(b"JWT_SECRET=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env cannot be read .*correct it, or remove it"):
        load_settings()


def test_kept_secrets_are_readable_by_the_owner_only_whatever_the_umask() -> None:
    old = os.umask(0)
    try:
        load_settings()
    finally:
        os.umask(old)
    kept = sorted(Path("var/secrets").iterdir())
    assert [file.name for file in kept] == ["cron_secret", "jwt_secret", "secret_key"]
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    assert Path("var/secrets").stat().st_mode & 0o777 == 0o700


def test_no_mode_of_an_existing_folder_is_changed() -> None:
    Path("var").mkdir(mode=0o755)
    Path("var").chmod(0o751)
    load_settings()
    assert Path("var").stat().st_mode & 0o777 == 0o751


def test_processes_that_start_at_once_agree_on_the_secrets() -> None:
    load = "from qrtrack.settings.loading import load_settings"
    program = f"{load}; print(load_settings().needed_secrets['jwt_secret'].get_secret_value())"
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(6)
    ]
    answers = {process.communicate(timeout=HANG_SECONDS)[0] for process in running}
    assert len(answers) == 1
    assert answers.pop().strip() == Path("var/secrets/jwt_secret").read_text().strip()


def test_the_secret_of_a_faster_process_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_settings()
    caplog.clear()
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    assert load_settings() == first
    assert caplog.text == ""
    assert [file.name for file in Path("var/secrets").iterdir() if file.name.startswith(".")] == []


def test_a_secret_of_the_environment_is_used_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **RANDOM)
    settings = load_settings()
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == RANDOM["JWT_SECRET"]
    assert not Path("var").exists()


def test_a_key_set_stands_in_for_the_shared_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, JWT_JWKS_URL="https://id.invalid/jwks.json")
    assert load_settings().jwt_secret is None


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    _set(monkeypatch, QRTRACK_DATA_DIR="file")
    with pytest.raises(
        SettingsError, match="JWT_SECRET is not set, and none could be kept in .*/file/secrets/jwt_secret"
    ):
        load_settings()


def plant(path: str, content: str = "q8Zr4vLx0TnB7mWcYd2HsKfJp6GuEa9R") -> Path:
    """Writes a secret to a file as the program itself does."""
    file = Path(path)
    file.parent.mkdir(mode=0o700, parents=True)
    file.write_text(f"{content}\n")
    file.chmod(0o600)
    return file


def refusal() -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_file_of_the_users_own_is_taken() -> None:
    plant("var/secrets/jwt_secret")
    secret = load_settings().jwt_secret
    assert secret is not None
    assert secret.get_secret_value() == "q8Zr4vLx0TnB7mWcYd2HsKfJp6GuEa9R"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602, 0o604, 0o610, 0o777])
def test_a_secret_that_others_may_read_or_write_is_refused(mode: int) -> None:
    plant("var/secrets/jwt_secret").chmod(mode)
    said = refusal()
    assert f"(mode {mode:04o})" in said
    assert f"`chmod 600 {Path('var/secrets/jwt_secret').absolute()}`" in said


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_refused(mode: int) -> None:
    plant("var/secrets/jwt_secret").parent.chmod(mode)
    assert f"`chmod 700 {Path('var/secrets').absolute()}`" in refusal()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("path", ["var/secrets/jwt_secret", "var/secrets"])
def test_a_secret_of_another_user_is_refused(path: str) -> None:
    plant("var/secrets/jwt_secret")
    os.chown(path, 1001, 1001)
    said = refusal()
    assert "belongs to user 1001, and this process is user 0" in said
    assert f"`chown 0 {Path(path).absolute()}`" in said


def test_a_secret_behind_a_link_is_refused() -> None:
    planted = plant("elsewhere/jwt_secret")
    Path("var/secrets").mkdir(mode=0o700, parents=True)
    Path("var/secrets/jwt_secret").symlink_to(planted.absolute())
    assert "var/secrets/jwt_secret cannot be trusted: it is a symbolic link" in refusal()


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_folder_behind_a_link_is_refused(target: str) -> None:
    plant("elsewhere/jwt_secret")
    Path("var").mkdir()
    Path("var/secrets").symlink_to(Path(target).absolute())
    assert "var/secrets" in refusal()
    assert not Path("nowhere").exists()


def test_a_link_that_leads_nowhere_is_no_place_for_a_new_secret() -> None:
    Path("var/secrets").mkdir(mode=0o700, parents=True)
    Path("var/secrets/jwt_secret").symlink_to(Path("nowhere").absolute())
    assert "symbolic link" in refusal()
    assert not Path("nowhere").exists()


def test_a_pipe_in_the_place_of_a_secret_does_not_block_the_start() -> None:
    Path("var/secrets").mkdir(mode=0o700, parents=True)
    os.mkfifo("var/secrets/jwt_secret", 0o600)
    assert "var/secrets/jwt_secret" in refusal()


def test_a_damaged_secret_file_is_named() -> None:
    plant("var/secrets/jwt_secret", "short")
    with pytest.raises(SettingsError, match="var/secrets/jwt_secret contains no usable one"):
        load_settings()


def test_production_starts_with_secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **PRODUCTION)
    assert load_settings().qrtrack_env == "production"


@pytest.mark.parametrize("name", RANDOM)
def test_production_refuses_a_missing_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _set(monkeypatch, **(PRODUCTION | {name: ""}))
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value) == f"{name} is not set: production needs a random value for it."
    assert not Path("var").exists()


@pytest.mark.parametrize("name", [*RANDOM, "WORKER_SECRET"])
@pytest.mark.parametrize(
    "value",
    [
        "changeme",
        "secret",
        "short-but-random-8Zr4vLx0",
        "change-me-to-a-long-random-value-of-your-own",
        "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
        "super-secret-jwt-secret-key-secret-secret",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "1234567123456712345671234567123456712345",
    ],
)
def test_production_refuses_a_placeholder_and_does_not_repeat_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    _set(monkeypatch, **(PRODUCTION | {name: value}))
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).startswith(f"{name} is a placeholder or too short: ")
    assert value not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_production_does_not_need_the_shared_secret_beside_a_key_set(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, JWT_JWKS_URL="https://id.invalid/jwks.json", **PRODUCTION)
    monkeypatch.delenv("JWT_SECRET")
    assert load_settings().jwt_secret is None


def test_production_refuses_keys_fetched_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, JWT_JWKS_URL="http://id.invalid/jwks.json", **PRODUCTION)
    with pytest.raises(SettingsError, match="^JWT_JWKS_URL must begin with https://"):
        load_settings()


@pytest.mark.parametrize("typed", [{}, {"DATABASE_URL": ""}, {"DATABSE_URL": "postgresql://app@db.example/app"}])
def test_production_never_starts_on_the_embedded_database(
    monkeypatch: pytest.MonkeyPatch, typed: dict[str, str]
) -> None:
    _set(monkeypatch, **(PRODUCTION | {"DATABASE_URL": ""} | typed))
    with pytest.raises(SettingsError, match="^DATABASE_URL is not set: production needs a PostgreSQL server"):
        load_settings()


@pytest.mark.parametrize("role", ["qrtrack_tenant", "app-2", "Mixed", "x" * 63])
def test_the_role_of_requests_may_have_any_plain_name(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    _set(monkeypatch, DATABASE_TENANT_ROLE=role)
    assert load_settings().database_tenant_role == role


@pytest.mark.parametrize("role", ["x" * 64, 'a"b', "a b", "a;b", "1st", "pg_monitor", "PG_x", "public", "NONE", "á"])
def test_a_name_that_no_role_can_have_is_refused(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    _set(monkeypatch, DATABASE_TENANT_ROLE=role)
    with pytest.raises(SettingsError, match="^DATABASE_TENANT_ROLE cannot be used: it must be the name of a role"):
        load_settings()


def test_production_cannot_be_built_around_the_check() -> None:
    with pytest.raises(ValidationError, match="SECRET_KEY is not set"):
        Settings(qrtrack_env="production")


def test_unset_settings_have_their_documented_defaults() -> None:
    settings = Settings(_env_file=None)
    assert (settings.bcrypt_cost, settings.lease_seconds, settings.shutdown_grace_seconds) == (10, 30, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BCRYPT_COST", "99"),
        ("LEASE_SECONDS", "soon"),
        ("QRTRACK_ENV", "staging"),
        ("JWT_JWKS_URL", "id.example.com/keys"),
        ("PUBLIC_BASE_URL", "ftp://x"),
        ("DATABASE_URL", "mysql://user:hunter2@host/name"),
        ("CORS_ALLOWED_ORIGINS", "https://app.example.com/path"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    _set(monkeypatch, **{name: value})
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).startswith(f"{name} cannot be used: ")
    assert "\n" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_an_empty_setting_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, WORKER_SECRET="")
    assert Settings().worker_secret is None


def test_origins_are_listed_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, CORS_ALLOWED_ORIGINS="https://a.example.com, http://localhost:3000")
    assert Settings().cors_origins == ["https://a.example.com", "http://localhost:3000"]


def test_no_secret_is_in_the_representation() -> None:
    settings = Settings(database_url="postgresql://u:hunter2@host/db", jwt_secret="hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


def test_two_webhook_tokens_are_valid_at_a_time() -> None:
    settings = Settings(_env_file=None, accurate_webhook_token=SecretStr("one , two,"))
    assert settings.webhook_tokens == [b"one", b"two"]
    with pytest.raises(ValidationError, match="more than two tokens") as refusal:
        Settings(_env_file=None, accurate_webhook_token=SecretStr("one,two,hunter3"))
    assert "hunter3" not in str(refusal.value)


def test_databases_are_mapped_to_organisations() -> None:
    organisation = uuid4()
    settings = Settings(_env_file=None, accurate_databases=f"1443290={organisation}, 2={organisation}")
    assert settings.database_owners == {1443290: organisation, 2: organisation}


@pytest.mark.parametrize(
    "wrong",
    [
        {"accurate_databases": "1443290"},
        {"accurate_databases": "x=5e1d8a4e-9d0c-4a52-8a53-0a4a4c8d0c11"},
        {"accurate_databases": "1=not-a-uuid"},
        {"accurate_databases": "1=5e1d8a4e-9d0c-4a52-8a53-0a4a4c8d0c11,01=6e1d8a4e-9d0c-4a52-8a53-0a4a4c8d0c11"},
        {"accurate_allowed_ips": "203.0.113.0/33"},
        {"accurate_timezone": "Asia/Nowhere"},
    ],
)
def test_a_mistyped_setting_of_accurate_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(_env_file=None, **wrong)


ONE, OTHER = "5e1d8a4e-9d0c-4a52-8a53-0a4a4c8d0c11", "6e1d8a4e-9d0c-4a52-8a53-0a4a4c8d0c11"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"PUBLIC_HOSTS": "verify.acme.example"}, "must list <host>=<organisation uuid>"),
        ({"PUBLIC_HOSTS": f"https://verify.acme.example={ONE}"}, "must list <host>=<organisation uuid>"),
        ({"PUBLIC_HOSTS": f"verify.acme.example/qr={ONE}"}, "must list <host>=<organisation uuid>"),
        ({"PUBLIC_HOSTS": "verify.acme.example=acme"}, "must list <host>=<organisation uuid>"),
        ({"PUBLIC_HOSTS": f"a.example={ONE},A.example={OTHER}"}, "names a host twice"),
        ({"PUBLIC_HOSTS": f"a.example={ONE},b.example={ONE}"}, "names two hosts for one organisation"),
        ({"RETIRED_PUBLIC_HOSTS": "https://a.example"}, "must list hosts such as verify.example.com"),
        (
            {"PUBLIC_BASE_URL": "https://a.example:443/x", "PUBLIC_HOSTS": f"A.example={ONE}"},
            "PUBLIC_HOSTS names the host of PUBLIC_BASE_URL",
        ),
    ],
)
def test_a_mistyped_public_host_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], complaint: str
) -> None:
    _set(monkeypatch, **values)
    with pytest.raises(SettingsError, match=complaint):
        load_settings()


def test_production_refuses_a_webhook_token_that_can_be_guessed() -> None:
    with pytest.raises(ValidationError, match="ACCURATE_WEBHOOK_TOKEN"):
        Settings(_env_file=None, qrtrack_env="production", accurate_webhook_token=SecretStr("changeme"))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"SMTP_URL": "mail.example.com"}, "SMTP_URL cannot be used: it must be an address such as smtps://"),
        ({"SMTP_URL": "smtp://mail:99999"}, "SMTP_URL cannot be used"),
        ({"SMTP_URL": "smtps://mail.example.com"}, "SMTP_FROM is not an e-mail address"),
        ({"SMTP_URL": "smtps://mail.example.com", "SMTP_FROM": "qrtrack"}, "SMTP_FROM is not an e-mail address"),
        ({"NOTIFY_ALLOWED_HOSTS": "https://sms.example.com/x"}, "NOTIFY_ALLOWED_HOSTS cannot be used"),
        ({"NOTIFY_ALLOWED_HOSTS": "sms.example.com"}, "NOTIFY_SECRET is not set"),
        ({"NOTIFY_ALLOWED_HOSTS": "sms.example.com", "NOTIFY_SECRET": "short"}, "NOTIFY_SECRET cannot be used"),
    ],
)
def test_half_a_setup_of_notifications_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], complaint: str
) -> None:
    _set(monkeypatch, **values)
    with pytest.raises(SettingsError, match=complaint):
        load_settings()


def test_the_password_of_the_mail_server_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, SMTP_URL="smtps://u:hunter2hunter2@mail.example.com", SMTP_FROM="a@b.example")
    assert "hunter2" not in repr(load_settings())
    _set(monkeypatch, SMTP_URL="u:hunter2hunter2@mail.example.com")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "hunter2" not in str(refused.value)
