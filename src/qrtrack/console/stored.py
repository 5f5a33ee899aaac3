"""Sentences that the program stored in English, such as the reason of a failure, in the language of the reader.

The catalogues' section `stored` holds each of them as a template. The English template finds the sentence, and the
template of the same key translates it. So nothing but the sentence is stored, and older rows are translated as well.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from qrtrack.console.language import Language, catalogue
from qrtrack.routers.languages import ENGLISH

SECTION: Final = "stored."
PLACEHOLDER: Final = re.compile(r"\\\{(\w+)\\\}")
# Some sentences are lists of what was found: "the paper is out, the head is open".
SEPARATOR: Final = re.compile(r"(, |; )")
# These placeholders hold a sentence of the program again, as in "Failed: {reason}". The others hold a value.
SENTENCES: Final = frozenset({"advice", "reason", "reasons", "what", "why"})
# These values are names, also where they look like a number or the state of a job: the code 0012345.
NAMES: Final = frozenset({"case_number", "claim", "code", "error", "prefix", "printer", "where"})
VALUE: Final = "(?:(?!; |: ).)+"
LONGEST: Final = 500
LONGEST_NUMBER: Final = 15


def translate_stored(language: Language, sentence: str, kind: str = "") -> str | None:
    """Returns the translation, or None if no template fits: then a person or another system wrote the text, and the
    page quotes it. Tries only the templates whose keys begin with `kind`.
    """
    if len(sentence) > LONGEST:
        return None
    for key, pattern in _patterns():
        if key.startswith(SECTION + kind) and (found := pattern.fullmatch(sentence)):
            return language.text(key, **_values(language, found.groupdict()))
    parts = SEPARATOR.split(sentence)
    if len(parts) == 1:
        return None
    translated = [part if SEPARATOR.fullmatch(part) else translate_stored(language, part, kind) for part in parts]
    return None if None in translated else "".join(filter(None, translated))


def _values(language: Language, found: Mapping[str, str]) -> dict[str, str]:
    return {name: _value(language, name, value) for name, value in found.items()}


def _value(language: Language, name: str, value: str) -> str:
    """Writes a value in the reader's language: a sentence, a name, a number or the state of a job."""
    if name in SENTENCES:
        return translate_stored(language, value) or value
    if name in NAMES:
        return value
    if value.isascii() and value.isdecimal() and len(value) <= LONGEST_NUMBER:
        return language.number(int(value))
    return catalogue(language.name).get(f"state.{value}", value)


@cache
def _patterns() -> Sequence[tuple[str, re.Pattern[str]]]:
    """Returns the patterns of the English templates, those with the longest fixed text first."""
    templates = {key: re.escape(text) for key, text in catalogue(ENGLISH).items() if key.startswith(SECTION)}
    ordered = sorted(templates, key=lambda key: len(PLACEHOLDER.sub("", templates[key])), reverse=True)
    return [(key, re.compile(PLACEHOLDER.sub(_group, templates[key]))) for key in ordered]


def _group(placeholder: re.Match[str]) -> str:
    name = placeholder[1]
    return f"(?P<{name}>{'.+' if name in SENTENCES else VALUE})"
