"""Fan-outs against a plain model: reported, cancelled, spoiled or recounted, both agree after every step."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fanout import FanOut
from process import delete_rows
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.progress.sync_batches import SyncCancelled
from qrtrack.domain.progress.sync_records import RecordOutcome, SurplusRecords
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.services.recalculation import recalculate_one
from qrtrack.settings import Settings

TOTAL = 12

# A few keys more than there are records, so that they repeat and run over.
Records = st.lists(st.builds(RecordOutcome, st.integers(1, TOTAL + 3).map(str), st.booleans()), min_size=1, max_size=6)
Spoiled = st.fixed_dictionaries(
    {name: st.integers(0, TOTAL) for name in ("processed_records", "success_count", "failed_records")}
)
Step = st.one_of(
    Records.map(lambda outcomes: ("report", outcomes)),
    st.lists(Records, min_size=2, max_size=5).map(lambda reports: ("report at once", reports)),
    Spoiled.map(lambda counters: ("spoil and recount", counters)),
    st.just(("cancel", None)),
)
# Seldom cancelled: what follows is then all alike.
Steps = st.lists(st.one_of(*[Records.map(lambda outcomes: ("report", outcomes))] * 3, Step), max_size=12)


@dataclass
class Model:
    outcomes: dict[str, bool] = field(default_factory=dict)
    is_cancelled: bool = False

    @property
    def status(self) -> str:
        if self.is_cancelled:
            return "cancelled"
        if len(self.outcomes) == TOTAL:
            return "completed" if any(self.outcomes.values()) else "failed"
        return "processing" if self.outcomes else "pending"

    @property
    def counts(self) -> tuple[str, int, int, int, int]:
        processed, succeeded = len(self.outcomes), sum(self.outcomes.values())
        return self.status, processed, succeeded, processed - succeeded, 100 * processed // TOTAL

    def report(self, outcomes: list[RecordOutcome]) -> int | type[Exception]:
        """How many are accepted, or why none is."""
        new: dict[str, bool] = {}
        for outcome in outcomes:
            if outcome.key not in self.outcomes:
                new.setdefault(outcome.key, outcome.success)
        if new and self.is_cancelled:
            return SyncCancelled
        if len(self.outcomes) + len(new) > TOTAL:
            return SurplusRecords
        self.outcomes |= new
        return len(new)


async def report(fan_out: FanOut, outcomes: list[RecordOutcome]) -> int | type[Exception]:
    try:
        answer = await fan_out.report(outcomes)
    except (SurplusRecords, SyncCancelled) as refusal:
        return type(refusal)
    assert answer.accepted + answer.repeated == len(outcomes)
    return answer.accepted


async def report_at_once(fan_out: FanOut, model: Model, reports: list[list[RecordOutcome]]) -> None:
    """In which order they are counted is open; that each is counted as a whole or not at all is not."""
    results = await asyncio.gather(*(report(fan_out, outcomes) for outcomes in reports))
    recorded = await fan_out.recorded()
    accepted = sum(result for result in results if isinstance(result, int))
    assert len(recorded) == len(model.outcomes) + accepted
    for outcomes, result in zip(reports, results, strict=True):
        if isinstance(result, int):
            assert {outcome.key for outcome in outcomes} <= recorded.keys()
    assert {key: recorded[key] for key in model.outcomes} == model.outcomes
    model.outcomes = recorded


async def take(fan_out: FanOut, model: Model, step: tuple[str, Any]) -> None:
    kind, given_ = step
    if kind == "report":
        assert await report(fan_out, given_) == model.report(given_)
    elif kind == "report at once":
        await report_at_once(fan_out, model, given_)
    elif kind == "spoil and recount":
        await fan_out.set(", ".join(f"{name} = {value}" for name, value in given_.items()))
        await recalculate_one(fan_out.database, fan_out.batch_id)
    elif model.status in ("pending", "processing"):
        await fan_out.cancel()
        model.is_cancelled = True
    else:
        try:
            await fan_out.cancel()
        except InvalidState:
            return
        raise AssertionError("what is over was cancelled")


async def live(runtime: Runtime, steps: list[tuple[str, Any]]) -> None:
    caller = Caller("model", uuid4(), frozenset({Role.ADMIN}))
    fan_out, model = await FanOut.announce(runtime.database, caller, TOTAL), Model()
    for step in steps:
        await take(fan_out, model, step)
        assert await fan_out.counts() == model.counts
        assert await fan_out.recorded() == model.outcomes
        batch = await fan_out.view()
        assert (batch.completed_at is not None) == (batch.summary is not None) == (model.status in ENDED)
        if batch.summary is not None:
            assert (batch.summary["success"], batch.summary["failed"]) == model.counts[2:4]


ENDED = ("completed", "failed", "cancelled")


def test_a_fan_out_and_its_model_agree_after_every_step(settings: Settings) -> None:
    with asyncio.Runner() as runner:
        opened = open_runtime(settings)
        runtime = runner.run(opened.__aenter__())

        @hypothesis_settings(
            max_examples=200,
            deadline=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        @given(Steps)
        def check(steps: list[tuple[str, Any]]) -> None:
            runner.run(live(runtime, steps))

        try:
            check()
        finally:
            runner.run(delete_rows(runtime.database))
            runner.run(opened.__aexit__(None, None, None))
