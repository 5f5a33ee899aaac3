"""The notice at the top of the public page: the result of a check, a recall, or why the check has no result."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from qrtrack.domain.verification.checks import Result
from qrtrack.domain.verification.limits import TooManyFailures
from qrtrack.domain.verification.reports import ReportReason
from qrtrack.routers.languages import LANGUAGES
from qrtrack.routers.verification.texts import catalogue, written_day
from qrtrack.services.verification.checks import Checked

TONES: Final[Mapping[str, str]] = MappingProxyType(
    {
        Result.GENUINE: "good",
        Result.GENUINE_SEEN_BEFORE: "care",
        Result.NOT_RELEASED: "care",
        Result.VOID: "bad",
        Result.RECALLED: "bad",
        Result.UNKNOWN: "calm",
        "reported": "good",
    }
)
REASONS: Final[Mapping[Result, ReportReason]] = MappingProxyType(
    {
        Result.GENUINE_SEEN_BEFORE: ReportReason.NOT_ME,
        Result.NOT_RELEASED: ReportReason.SOLD_TOO_EARLY,
        Result.VOID: ReportReason.PRODUCT_DOUBTFUL,
        Result.UNKNOWN: ReportReason.PRODUCT_DOUBTFUL,
    }
)
ICONS: Final[Mapping[str, str]] = MappingProxyType(
    {Result.NOT_RELEASED: "wait", Result.GENUINE_SEEN_BEFORE: "wait", "busy": "wait", "reports_full": "wait"}
)
ASKING: Final = frozenset({Result.NOT_RELEASED, Result.VOID})


class Notice(NamedTuple):
    """`tone` decides the colour, and the icon if `icon` is empty. `is_done`: the page folds the form for another check.
    `advice` is the text of the recall. `asks_report` opens the report form, and `reason` is its preselected reason.
    """

    title: str
    message: str
    tone: str
    icon: str = ""
    advice: str = ""
    facts: Sequence[tuple[str, str]] = ()
    is_done: bool = False
    asks_report: bool = False
    reason: str = ""
    code: str = ""


def notice_named(name: str, language: str) -> Notice:
    words = catalogue(language)["notices"][name]
    return Notice(
        words["title"],
        words["message"],
        TONES.get(name, "calm"),
        icon=ICONS.get(name, ""),
        is_done=name == "reported",
    )


def notice_of_wait(refusal: TooManyFailures, language: str, zone: ZoneInfo) -> Notice:
    """Names the time when the next check is allowed, in the manufacturer's time zone, and the minutes until then."""
    words = catalogue(language)["notices"]["wait"]
    time = f"{refusal.retry_at.astimezone(zone):%H:%M %Z}"
    minutes = -(-int(refusal.members["retry_after"] + 1) // 60)
    return Notice(words["title"], words["message"].format(time=time, minutes=minutes), "calm", icon="wait")


def notice_of_recall(recall: tuple[str, str], language: str) -> Notice:
    words = catalogue(language)["results"][Result.RECALLED]
    advice = dict(zip(LANGUAGES, recall, strict=True))[language]
    return Notice(words["title"], words["message"], TONES[Result.RECALLED], advice=advice)


def notice_of(checked: Checked | None, language: str) -> Notice:
    result = Result.UNKNOWN if checked is None else checked.result
    words = catalogue(language)["results"][result]
    notice = Notice(
        words["title"],
        words["message"],
        TONES[result],
        icon=ICONS.get(result, ""),
        is_done=checked is not None,
        asks_report=result in ASKING,
        reason=REASONS.get(result, ""),
    )
    if checked is None:
        return notice
    texts = {"en": checked.unit.text_en, "id": checked.unit.text_id}
    return notice._replace(
        message=words["message"].format(day=written_day(checked.first_checked_on, language)),
        advice=texts[language] or "",
        facts=list(_facts(checked, language)),
        code=checked.unit.code,
    )


def _facts(checked: Checked, language: str) -> Sequence[tuple[str, str]]:
    words: Mapping[str, Any] = catalogue(language)["page"]
    is_seen = checked.result is Result.GENUINE_SEEN_BEFORE
    named = {
        "serial": checked.unit.code,
        "lot": checked.unit.lot,
        "expiry": written_day(checked.unit.expires_on, language),
        "checks": str(checked.check_count) if is_seen else None,
        "first_check": written_day(checked.first_checked_on, language) if is_seen else None,
        "redeemed": written_day(checked.redeemed_on, language),
    }
    return [(words[name], value) for name, value in named.items() if value]
