"""Where notifications may go: only where the operator said, whatever tricks an address plays."""

import pytest

from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.notifications import SAID, Channels, Notify, Subject, Target
from qrtrack.domain.verification.alerts import AlertKind
from qrtrack.domain.verification.reports import ReportReason

CHANNELS = Channels(mail=True, hosts=frozenset({("hooks.plant.example", 443), ("sms.plant.example", 8443)}))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.plant.example", Target("hooks.plant.example", 443, "/")),
        ("https://hooks.plant.example/a/b?c=d&e", Target("hooks.plant.example", 443, "/a/b?c=d&e")),
        ("https://Hooks.Plant.Example:443/", Target("hooks.plant.example", 443, "/")),
        ("https://sms.plant.example:8443/x#y", Target("sms.plant.example", 8443, "/x")),
        ("https://hooks.plant.example/@127.0.0.1", Target("hooks.plant.example", 443, "/@127.0.0.1")),
    ],
)
def test_an_allowed_host_is_called_at_its_port(url: str, target: Target) -> None:
    assert CHANNELS.target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.plant.example/", "https://hooks.plant.example:8443/", "https://sms.plant.example/",
        "https://evil.example/", "https://hooks.plant.example.evil.example/", "https://evil.hooks.plant.example/",
        "https://hooks.plant.example@127.0.0.1/", "https://u:p@hooks.plant.example/", "https://hooks.plant.example\\@evil",
        "https://127.0.0.1/", "https://[::1]/", "https://hooks.plant.example:99999/", "https://hooks.plant.example:-1/",
        "https://hooks.plant.example:44a/", "https:hooks.plant.example", "https:///hooks.plant.example", "//x", "",
        "https://hooks.plant.example./", "https://hooks.plant.example /", "https://hooks.plant.example/\r\nX: y",
        "https://hooks.plant.example/\u2028", "https://ｈooks.plant.example/", "ftp://hooks.plant.example/",
        "https://:443/", "https://hooks.plant.example:443:443/", "\thttps://hooks.plant.example/",
    ],
)  # fmt: skip
def test_anything_else_is_not(url: str) -> None:
    assert CHANNELS.target(url) is None
    with pytest.raises(InvalidInput) as refused:
        CHANNELS.check(Notify(url=url))
    assert [error.pointer for error in refused.value.errors] == ["/notify/url"]


def test_a_mail_server_that_is_not_set_up_is_said_at_once() -> None:
    with pytest.raises(InvalidInput, match="SMTP_URL"):
        Channels(mail=False, hosts=frozenset()).check(Notify(email="a@b.example"))


def test_a_request_without_notify_passes_the_check() -> None:
    assert CHANNELS.check(None) is None


def test_each_kind_of_alert_and_report_has_its_sentence() -> None:
    alerts = {f"{Subject.VERIFICATION_ALERT}.{kind}" for kind in AlertKind}
    assert set(SAID) == alerts | {f"{Subject.VERIFICATION_REPORT}.{reason}" for reason in ReportReason}
