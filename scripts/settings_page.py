"""Writes docs/settings.md: kinds, limits and defaults from the Settings class, names and meanings from .env.example."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from qrtrack.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/settings.md"
EXAMPLE = ROOT / ".env.example"

INTRODUCTION = """# Settings

This page is written by `make docs`; do not edit it. Settings are environment variables, or lines of a file `.env` in
the folder where the program starts; the environment wins. [.env.example](../.env.example) is such a file with every
default. A setting that cannot be used, or is missing in production, stops the start with a line that names it. *Secret*
values never appear in logs or error messages.

**The service strips nothing from a value.** White space or a line end around it, and an invisible character anywhere in
it (control characters, no-break and zero-width blanks, byte order marks), stop the start: a password may begin with a
blank, and a changed `SECRET_KEY` cannot open the stored root keys. A Kubernetes secret made from a file keeps the line
end of the file: write the file with `printf %s "$VALUE"`, or use `--from-literal`. In `.env`, a blank before `#` begins
a comment: put such a value into single quotes. `${NAME}` is replaced by the variable of that name, even in quotes.
"""
SECTION = re.compile(r"# --- (.+?) -+")


@dataclass
class Section:
    """A part of .env.example. `intro`: comments that belong to no setting. `meanings`: the comment of each setting."""

    title: str
    intro: list[str] = field(default_factory=list)
    meanings: dict[str, str] = field(default_factory=dict)


def sections() -> Iterator[Section]:
    """Yields the sections. A comment directly above a setting is its meaning; one before a blank line is `intro`."""
    section, comment = Section(""), list[str]()
    for line in [*EXAMPLE.read_text().splitlines(), "# --- the end ---"]:
        if titled := SECTION.fullmatch(line):
            if section.meanings:
                yield section
            section, comment = Section(titled[1]), []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif not line:
            section.intro += comment
            comment = []
        elif section.title:
            name = line.partition("=")[0]
            section.meanings[name] = " ".join(comment)
            comment = []


def page() -> str:
    parts = [INTRODUCTION]
    for section in sections():
        rows = [
            row(name, meaning) for name, meaning in section.meanings.items() if name.lower() in Settings.model_fields
        ]
        if rows:
            head = [f"## {section.title}", *([" ".join(section.intro)] if section.intro else [])]
            table = ["| setting | kind | default | meaning |", "|---|---|---|---|", *rows]
            parts.append("\n\n".join([*head, "\n".join(table)]) + "\n")
    return "\n".join(parts)


def row(name: str, meaning: str) -> str:
    info = Settings.model_fields[name.lower()]
    return f"| `{name}` | {kind(info)} | {default(info)} | {meaning} |".replace("  ", " ")


def kind(info: FieldInfo) -> str:
    annotation: Any = info.annotation
    names = {part.__name__ for part in (get_args(annotation) or (annotation,)) if isinstance(part, type)}
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if "SecretStr" in names:
        return "*secret*"
    for python, word in (("int", "whole number"), ("float", "number"), ("UUID", "UUID"), ("Path", "folder")):
        if python in names:
            return f"{word}{limits(info)}"
    return "text"


def limits(info: FieldInfo) -> str:
    bounds = {name: getattr(rule, name) for rule in info.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)}
    low = f"{bounds['ge']} to " if "ge" in bounds else "above 0, up to " if "gt" in bounds else ""
    return f", {low}{bounds['le']}" if "le" in bounds else ""


def default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "one per processor"
    return "none" if info.default in (None, "") else f"`{info.default}`"


if __name__ == "__main__":
    PAGE.write_text(page())
