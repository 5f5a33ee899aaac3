"""Runs the benchmarks named on the command line, or all; exits 1 if a bar is missed."""

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import structlog
from uvicorn.loops.auto import auto_loop_factory

from benchmarks.report import Report

# Modules of this package, imported when they are run: not all of what they are measured beside is always installed.
BENCHMARKS: Final = (
    "reverse_job",
    "create_batch",
    "labels",
    "verify",
    "exports",
    "link",
    "flat",
    "polls",
    "progress",
    "webhook_ingest",
    "webhook_drain",
    "fair_share",
    "first_paint",
    "scan",
)
# first_paint looks at the pages and the plant of the tests.
TESTS: Final = Path(__file__).parents[1] / "tests"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--full", action="store_true", help="more rounds, and the sizes of the bars where they differ")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    sys.path += [str(TESTS), str(TESTS / "support")]
    modules = [import_module(f"benchmarks.{name}") for name in options.names or BENCHMARKS]
    # As a serving process does: each full collection over all that is imported would stop the clock's owner for 150 ms.
    gc.collect()
    gc.freeze()
    reports = [_run(module.run(full=options.full)) for module in modules]
    return 0 if all(report.passed for report in reports) else 1


def _run(benchmark: Coroutine[Any, Any, Report]) -> Report:
    """On the loop that the server runs on: a baseline must not be slower for its loop's sake."""
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        return runner.run(benchmark)


if __name__ == "__main__":
    sys.exit(main())
