"""One rule for every setting: a value is used as it is written, or refused by its name."""

import re
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from qrtrack.domain.qr import batch_payload, unit_payload
from qrtrack.settings import Settings, SettingsError
from qrtrack.settings.loading import load_settings

WEBHOOK_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# A good value of each setting whose default says nothing about its form.
GOOD: Final = {
    "database_url": "postgresql://u:p@db.example.com/name",
    "jwt_jwks_url": "https://id.example.com/.well-known/jwks.json?v=1",
    "cors_allowed_origins": "https://app.example.com, http://localhost:3000",
    "hash_threads": "2",
    "accurate_allowed_ips": "203.0.113.0/24, 2001:db8::/32",
    "organisation_names": f"{uuid4()}=PT Contoh; {uuid4()}=Acme, Inc.",
    "public_hosts": f"verify.acme.example={uuid4()}, verify.contoh.example={uuid4()}",
    "printer_networks": "192.0.2.0/24, 2001:db8::/32",
    "accurate_databases": f"1443290={uuid4()}",
    "accurate_api_token": "aat.NTA.eyJ2IjoxLCJ1Ijo",
    "accurate_forward_url": "https://erp.example.com/hooks/accurate/?from=qrtrack",
    "accurate_forward_secret": WEBHOOK_SECRET,
    "akselgate_base_url": "https://gateway.example.com/api/v1",
    "akselgate_username": "plant-1",
    "akselgate_password": "pa ss wörd",
    "akselgate_organisation": str(uuid4()),
    "akselgate_amount_scale": "2",
    "smtp_url": "smtps://user:p%40ss@mail.example.com:465",
    "smtp_from": "qrtrack <no-reply@example.com>",
    "notify_allowed_hosts": "sms.example.com, hooks.example.com:8443",
    "notify_secret": WEBHOOK_SECRET,
}
# Settings that only stand together.
BESIDE: Final = {
    "accurate_forward_url": {"ACCURATE_FORWARD_SECRET": WEBHOOK_SECRET},
    "smtp_url": {"SMTP_FROM": "qrtrack@example.com"},
    "notify_allowed_hosts": {"NOTIFY_SECRET": WEBHOOK_SECRET},
}
SPOILT: Final = [
    "{}\n", "{}\r\n", "{}\n\n", "\n{}", "{} ", " {}", "{}\t", "{}\u00a0", "\u3000{}", "{}\u200b", "\u200b{}",
    "\ufeff{}", "{}\u2060", "{}\u00ad", "\u202e{}", "{}\u3164", "{}\ufe0f", "{}\a", "{}\x7f", "{}\u2028",
]  # fmt: skip


def good_value(name: str) -> str:
    value = GOOD.get(name)
    if value is None:
        default = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
        value = str(default) if default not in (None, "") else "q8Zr4vLx0TnB7mWcYd2HsKfJp6GuEa9R"
    return value


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=sorted(Settings.model_fields))
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for other, value in BESIDE.get(request.param, {}).items():
        monkeypatch.setenv(other, value)
    return str(request.param)


def test_the_good_value_is_taken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without this test, the refusals below would prove nothing."""
    monkeypatch.setenv(name.upper(), good_value(name))
    value = getattr(load_settings(), name)
    assert value not in (None, "")


REFUSAL: Final = (
    r"{} cannot be used: it (begins or ends with white space|ends with a line end|contains the invisible character "
    r"U\+[0-9A-F]{{4}}): [^\n]+\."
)


@pytest.mark.parametrize("how", [*SPOILT, " ", "\n", "\t \n", "\u200b"], ids=ascii)
def test_a_setting_with_invisible_characters_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    good = {name: good_value(name) for name in sorted(Settings.model_fields)}
    for name, value in good.items():
        monkeypatch.setenv(name.upper(), how.format(value))
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    lines = str(refusal.value).splitlines()
    for name, value in good.items():
        assert sum(re.fullmatch(REFUSAL.format(name.upper()), line) is not None for line in lines) == 1, name
        assert len(value) < 8 or value not in str(refusal.value)
    assert len(lines) == len(good)


def test_an_empty_value_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    unset = getattr(Settings(_env_file=None), name)
    monkeypatch.setenv(name.upper(), "")
    assert getattr(Settings(_env_file=None), name) == unset


@pytest.mark.parametrize("name", ["akselgate_password", "cron_secret", "akselgate_username", "jwt_audience"])
def test_blanks_and_letters_inside_belong_to_the_value(name: str) -> None:
    value = getattr(Settings(_env_file=None, **{name: "wörd with bl änks"}), name)  # type: ignore[arg-type]
    assert (value.get_secret_value() if isinstance(value, SecretStr) else value) == "wörd with bl änks"


def test_an_invisible_character_inside_a_list_is_refused() -> None:
    for name in (
        "cors_allowed_origins", "accurate_allowed_ips", "notify_allowed_hosts", "accurate_databases",
        "printer_networks",
    ):  # fmt: skip
        spoilt = GOOD[name].replace(",", "\u200b,").replace("=", "\u00a0=")
        with pytest.raises(ValidationError, match=r"invisible character U\+(200B|00A0)"):
            Settings(_env_file=None, notify_secret=SecretStr(WEBHOOK_SECRET), **{name: spoilt})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["public_base_url", "akselgate_base_url", "accurate_account_url"])
@pytest.mark.parametrize(
    ("spoilt", "advice"),
    [
        ("https://qr.example.com?x=1", "end with the path"), ("https://qr.example.com/?", "end with the path"),
        ("https://qr.example.com/a?x=1#b", "end with the path"), ("https://qr.example.com#a", "end with the path"),
        ("https://qr.example.com/#", "end with the path"),
        ("https://u:p@qr.example.com", "must not contain a user or a password"),
        ("https://u@qr.example.com/a", "must not contain a user or a password"), ("https://qr.exämple.com", "xn--"),
        ("https://qr.example.com/ä", "must be ASCII"), ("https://qr example.com", "without|digits"),
        ("https://qr.example.com/a b", "without|digits"), ("https://qr.example.com\\a", "without|digits"),
        ("https:\\\\qr.example.com", "full address"), ("https:/qr.example.com", "full address"),
        ("https://", "full address"), ("https:///a", "full address"), ("https://.", "full address"),
        ("https://qr..example.com", "full address"), ("https://-qr.example.com", "full address"),
        ("https://qr.example.com:0", "full address"), ("https://qr.example.com:65536", "full address"),
        ("https://qr.example.com:", "full address"), ("https://qr.example.com:x", "full address"),
        ("https://[::1", "full address"), ("https://[::g]", "full address"), ("https://[1.2.3.4]", "full address"),
        ("https://qr.example.com//a", "full address"), ("https://qr.example.com/a/../b", "full address"),
        ("https://qr.example.com/.", "full address"), ("https://qr.example.com/%zz", "full address"),
        ("https://qr.example.com/<a>", "full address"), ('https://qr.example.com/a"b', "full address"),
        ("ftp://qr.example.com", "full address"), ("//qr.example.com", "full address"), ("qr.example.com", "full"),
        ("javascript://qr.example.com", "full address"), ("https://qr.example.com,https://b.example", "full address"),
    ],
)  # fmt: skip
def test_an_address_that_paths_are_put_behind_has_nothing_else(name: str, spoilt: str, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        Settings(_env_file=None, **{name: spoilt})  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/%20", "/%E2%80%8B", "/a%2Fb", "/a;b", "/a'b", "/(a)"])
def test_a_printed_address_has_no_percent_signs(path: str) -> None:
    assert Settings(_env_file=None, akselgate_base_url=f"https://qr.example.com{path}").akselgate_base_url
    with pytest.raises(ValidationError, match="letters, digits"):
        Settings(_env_file=None, public_base_url=f"https://qr.example.com{path}")


PIECES = st.sampled_from([
    "https://", "HTTP://", "qr.example.com", "127.0.0.1", "[2001:db8::1]", ":8443", "/", "/qr", "/a.b/c~d", "?x=1",
    "#a", " ", "\n", "\r", "\t", "\u200b", "\ufeff", "\u00a0", "\\", "@", "u:p@", "%20", "%", "ä", "..", ".", "//",
    "\0", "\u3164", "xn--qr-1", "_", ":", "0",
])  # fmt: skip
CLEAN = re.compile(
    r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?(/[a-z0-9._~-]+)*/q/ABCDEFGHJKLM(/SKA000001)?",
    re.ASCII | re.IGNORECASE,
)


@given(
    st.lists(PIECES, max_size=6).map("".join)
    | st.lists(PIECES, max_size=4).map(lambda more: "https://a.example" + "".join(more))
)
def test_every_accepted_public_base_url_prints_a_clean_address(value: str) -> None:
    try:
        base_url = Settings(_env_file=None, public_base_url=value).public_base_url
    except ValidationError:
        return
    assert CLEAN.fullmatch(batch_payload(base_url, "ABCDEFGHJKLM"))
    assert CLEAN.fullmatch(unit_payload(base_url, "ABCDEFGHJKLM", "SKA000001"))


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://qr.example.com", "https://qr.example.com"), ("https://qr.example.com/", "https://qr.example.com"),
        ("https://qr.example.com/plant-1/", "https://qr.example.com/plant-1"),
        ("https://QR.Example.com:8443/a_b/c.d", "https://QR.Example.com:8443/a_b/c.d"),
        ("http://[2001:db8::1]:8000", "http://[2001:db8::1]:8000"), ("http://192.0.2.1", "http://192.0.2.1"),
        ("https://xn--qr-fka.example", "https://xn--qr-fka.example"),
    ],
)  # fmt: skip
def test_a_plain_address_is_kept(given_url: str, kept: str) -> None:
    assert Settings(_env_file=None, public_base_url=given_url).public_base_url == kept


@pytest.mark.parametrize("name", ["jwt_jwks_url", "accurate_forward_url"])
def test_an_address_that_is_called_as_it_is_may_have_a_query(name: str) -> None:
    address = "https://id.example.com/keys/?apikey=a/b?c"
    both: dict[str, Any] = {"accurate_forward_secret": WEBHOOK_SECRET, name: address}
    assert getattr(Settings(_env_file=None, **both), name) == address
    for spoilt in (f"{address}#a", f"{address}&a b", "https://u:p@id.example.com/keys", "https://id.example.com/ä"):
        with pytest.raises(ValidationError):
            Settings(_env_file=None, **both | {name: spoilt})


@pytest.mark.parametrize(
    "spoilt",
    [
        {"smtp_url": "smtps://user:1#x@mail.example.com"}, {"smtp_url": "smtps://user:1?x@mail.example.com"},
        {"smtp_url": "smtps://user:a b@mail.example.com"}, {"smtp_url": "smtps://mail.example.com/path"},
        {"smtp_url": "smtps://mäil.example.com"}, {"notify_allowed_hosts": "sms.example.com:65536"},
        {"accurate_api_token": "aat.ü"}, {"cors_allowed_headers": "x client"}, {"cors_allowed_headers": "x:y"},
        {"cors_allowed_origins": "https://a.example.com/"}, {"cors_allowed_origins": "https://u@a.example.com"},
        {"cors_allowed_origins": "https://a.example.com:99999"}, {"cors_allowed_origins": "https://a b.example.com"},
        {"accurate_signature_encoding": "Base64"},
    ],
)  # fmt: skip
def test_neighbours_of_these_are_refused(spoilt: dict[str, Any]) -> None:
    beside: dict[str, Any] = {"smtp_from": "a@b.example", "notify_secret": WEBHOOK_SECRET}
    with pytest.raises(ValidationError, match=next(iter(spoilt))):
        Settings(_env_file=None, **beside, **spoilt)


def test_origins_are_compared_as_browsers_send_them() -> None:
    origins = "https://App.Example.com:443, http://localhost:80, http://localhost:3000, *"
    assert Settings(_env_file=None, cors_allowed_origins=origins).cors_origins == [
        "https://app.example.com", "http://localhost", "http://localhost:3000", "*",
    ]  # fmt: skip


def test_an_ipv4_mapped_network_is_read_as_its_ipv4_network() -> None:
    listed = "::ffff:203.0.113.0/120, ::ffff:198.51.100.7, ::ffff:0:0/96, ::/0, 2001:db8::/32"
    networks = Settings(_env_file=None, accurate_allowed_ips=listed).webhook_networks
    assert [str(network) for network in networks] == [
        "203.0.113.0/24", "198.51.100.7/32", "0.0.0.0/0", "::/0", "2001:db8::/32",
    ]  # fmt: skip
