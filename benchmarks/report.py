"""What a benchmark says at its end: each figure beside its baseline and its bar, on paper and as JSON."""

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
HEADINGS = ("figure", "measured", "baseline", "ratio", "bar", "")


@dataclass(frozen=True)
class Figure:
    """One line. The bar limits the measured value itself, or its ratio to the baseline."""

    what: str
    unit: str
    measured: float
    bar: str
    passed: bool
    samples: Sequence[float] = ()
    baseline: float | None = None
    ratio: float | None = None
    baseline_samples: Sequence[float] = ()


@dataclass
class Report:
    """The figures of one run. `note` says what else a reader needs, such as the size of the tables."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def at_most(self, what: str, value: float, unit: str, limit: float, samples: Sequence[float] = ()) -> None:
        bar = f"<= {limit:g} {unit}"
        self.figures.append(Figure(what, unit, value, bar, passed=value <= limit, samples=samples))

    def at_least(self, what: str, value: float, unit: str, limit: float, samples: Sequence[float] = ()) -> None:
        bar = f">= {limit:g} {unit}"
        self.figures.append(Figure(what, unit, value, bar, passed=value >= limit, samples=samples))

    def speed_at_least(self, what: str, ours: Sequence[float], baseline: Sequence[float], limit: float) -> None:
        """Both in seconds for the same work: the baseline's median over ours is the share of its speed."""
        mine, theirs = median(ours), median(baseline)
        bar, ratio = f"speed >= {limit:g} x", theirs / mine
        self.figures.append(Figure(what, "s", mine, bar, ratio >= limit, ours, theirs, ratio, baseline))

    def cost_at_most(
        self, what: str, unit: str, *, ours: Sequence[float], baseline: Sequence[float], limit: float, at: float = 50
    ) -> None:
        """Ours over the baseline, both at the same percentile."""
        mine, theirs = percentile(ours, at), percentile(baseline, at)
        bar, ratio = f"cost <= {limit:g} x", mine / theirs
        self.figures.append(Figure(what, unit, mine, bar, ratio <= limit, ours, theirs, ratio, baseline))

    def beside(self, what: str, ours: Sequence[float], baseline: Sequence[float]) -> None:
        """For information: the share of the baseline's speed, both in seconds, without a bar."""
        mine, theirs = median(ours), median(baseline)
        self.figures.append(
            Figure(
                what,
                "s",
                mine,
                "",
                passed=True,
                samples=ours,
                baseline=theirs,
                ratio=theirs / mine,
                baseline_samples=baseline,
            )
        )

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def passed(self) -> bool:
        return all(figure.passed for figure in self.figures)

    def publish(self, machine: dict[str, Any]) -> None:
        """Prints the table, and keeps it under benchmarks/results/."""
        print(f"\n{self.name}")
        rows = [HEADINGS, *(_cells(figure) for figure in self.figures)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for note in self.notes:
            print(f"  {note}")
        print("  " + ", ".join(f"{name}: {value}" for name, value in machine.items()))
        now = datetime.now(UTC)
        RESULTS.mkdir(exist_ok=True)
        kept = {"at": now.isoformat(), "machine": machine} | asdict(self)
        (RESULTS / f"{now:%Y%m%dT%H%M%SZ}-{self.name}.json").write_text(json.dumps(kept, indent=1))


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.what,
        f"{figure.measured:.4g} {figure.unit}",
        "" if figure.baseline is None else f"{figure.baseline:.4g} {figure.unit}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.bar,
        "" if not figure.bar else "pass" if figure.passed else "MISS",
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def describe_machine(postgresql: str) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "postgresql": postgresql,
        "python": platform.python_version(),
        "load before": round(psutil.getloadavg()[0], 1),
    }
