"""The packing line against a plain model of it: whatever is done in whatever order, both agree after every step."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from plant import MadeBatch, Plant, ska
from process import delete_rows
from qrtrack.domain.claims import Claim, Interrupted, LeaseLost
from qrtrack.domain.errors import DomainError
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.packing.case_packing import CountDrift, FirstCodeNotPrepared, NotEnoughPrepared
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import REVERSE_JOBS
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.services.claims import claim_work, release_claim
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.codes import mark_printed, readmit_codes, void_codes
from qrtrack.services.packing.links import UnlinkedCodes
from qrtrack.services.packing.preparation import fail_reverse_job, run_reverse_job
from qrtrack.services.packing.reverse_jobs import cancel_reverse_job, retry_reverse_job
from qrtrack.settings import Settings

Result = TypeVar("Result")

RUNS = {"5g": range(1, 15), "10g": range(15, 25)}
SIZE = 24
UNITS = 5
CHUNK = 4
# Cases 1 to 3 hold 5, 5 and 4 of the first variant, cases 4 and 5 five each of the second.
CASES = [("5g", 5), ("5g", 5), ("5g", 4), ("10g", 5), ("10g", 5)]

Numbers = st.frozensets(st.integers(1, SIZE), max_size=6)
Seldom = st.sampled_from([False, False, False, True])
Station = st.sampled_from(["Line 1", "Line 2", None])


@dataclass
class ModelCode:
    status: str = "generated"
    case: int | None = None
    printed: bool = False
    released: int = 0
    queued_at: int = 0
    # Whose prepared row the case has consumed.
    consumed: UUID | None = None
    voided_by_closing: bool = False

    @property
    def available(self) -> bool:
        return self.status in ("generated", "printed")


@dataclass
class ModelJob:
    job_id: UUID
    first: int
    last: int
    status: str = "queued"
    reached: int = 0
    counted_at: int | None = None
    total: int = 0
    prepared: int = 0
    duplicates: int = 0
    excluded: int = 0
    claim: Claim | None = None


@dataclass
class ModelCase:
    variant: str
    expected: int
    station: str | None = None
    packed_at: int = 0


@dataclass
class Model:
    """What the plant's database must hold, kept in the plainest way there is."""

    codes: dict[int, ModelCode] = field(default_factory=lambda: {number: ModelCode() for number in range(1, SIZE + 1)})
    cases: list[ModelCase] = field(default_factory=lambda: [ModelCase(*case) for case in CASES])
    jobs: list[ModelJob] = field(default_factory=list)
    queue: dict[int, UUID] = field(default_factory=dict)
    exclusions: set[tuple[int, UUID | None]] = field(default_factory=set)
    clock: int = 0
    closed: bool = False

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def excluded(self, number: int) -> bool:
        return any(number == excluded for excluded, _ in self.exclusions)

    def packable(self, number: int) -> bool:
        return self.codes[number].available and not self.excluded(number)

    def inside(self, case: int) -> list[int]:
        return [number for number, code in self.codes.items() if code.case == case]

    def leave_queue(self, numbers: Iterator[int] | frozenset[int] | list[int]) -> None:
        for number in numbers:
            self.queue.pop(number, None)

    def consume(self, numbers: list[int], case: int) -> None:
        """Into the case, and out of the queue."""
        for number in numbers:
            code = self.codes[number]
            code.status, code.case, code.consumed = "packed", case, self.queue.pop(number, None)

    def requeue(self, numbers: Iterable[int]) -> int:
        """What is available again returns to the queue, where its case took it from there; how many."""
        cancelled = {job.job_id for job in self.jobs if job.status == "cancelled"}
        returning = {number: owner for number in numbers if (owner := self.codes[number].consumed)}
        for number, owner in returning.items():
            if owner not in cancelled and not self.excluded(number):
                self.queue[number] = owner
                self.codes[number].queued_at = self.clock
        return sum(number in self.queue for number in numbers)

    def place(self, number: int) -> str:
        code = self.codes[number]
        if code.status == "void" and not code.voided_by_closing:
            return "void"
        if code.case is not None:
            return "in_case"
        if code.status == "scanned":
            return "scanned"
        if number in self.queue:
            return "prepared"
        if self.excluded(number):
            return "excluded"
        return "voided_by_closing" if code.voided_by_closing else "remaining"

    def places(self) -> dict[str, int]:
        places = ("void", "in_case", "scanned", "prepared", "excluded", "voided_by_closing", "remaining")
        return dict.fromkeys(places, 0) | Counter(map(self.place, self.codes))


@dataclass(frozen=True)
class Asked:
    """A case to be packed. Unless it is `wild`, the case is an open one and `first` a unit that waits in the queue."""

    case: int
    units: int | None
    first: int | None
    missing: frozenset[int]
    partial: bool
    station: str | None
    verify: bool
    wild: bool


Orders = st.builds(
    Asked,
    case=st.integers(0, len(CASES) - 1),
    units=st.none() | st.integers(1, 4),
    first=st.none() | st.integers(0, 12),
    missing=st.just(frozenset()) | st.frozensets(st.integers(1, SIZE), max_size=2),
    partial=st.booleans(),
    station=Station,
    verify=st.booleans(),
    wild=Seldom,
)


class AfterChunks(StopSignal):
    """Lets a number of chunks pass, then stops the job in good order."""

    def __init__(self, chunks: int) -> None:
        super().__init__()
        self._left = chunks

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0


class PackingLine(RuleBasedStateMachine):
    """Every rule does one thing to the database and to the model; a refusal must be one that the model foresees."""

    def __init__(self, runner: asyncio.Runner, runtime: Runtime) -> None:
        super().__init__()
        self._runner = runner
        self._runtime = runtime
        self._model = Model()
        self._plant = Plant(runtime, Caller("operator", uuid4(), frozenset({Role.ADMIN})))
        self._batch: MadeBatch | None = None

    def teardown(self) -> None:
        self._do(delete_rows(self._runtime.database))

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)

    def _attempt(self, work: Coroutine[Any, Any, Result]) -> Result | DomainError:
        """What came of it, a refusal being one of the things that may."""
        try:
            return self._do(work)
        except DomainError as refusal:
            return refusal

    def _happens(self, work: Coroutine[Any, Any, object], *, foreseen: bool) -> bool:
        done = self._attempt(work)
        assert isinstance(done, DomainError) is not foreseen, done
        return foreseen

    @property
    def batch(self) -> MadeBatch:
        assert self._batch is not None
        return self._batch

    @property
    def batch_id(self) -> UUID:
        return self.batch.batch_id

    @initialize()
    def make_batch(self) -> None:
        variants = [(variant, len(run)) for variant, run in RUNS.items()]
        self._batch = self._do(self._plant.batch(variants=variants, units_per_case=UNITS))

    @rule(excluded=st.just(frozenset()) | Numbers)
    def prepare_all(self, excluded: frozenset[int]) -> None:
        """What a plant does mostly: a job over the whole batch, run to its end."""
        self.submit(excluded=excluded, variant=None)
        while any(job.status in ("queued", "running") for job in self._model.jobs):
            self.run_a_job(chunks=SIZE, newest=False, end="keep")

    @rule(excluded=Numbers, variant=st.sampled_from([None, "5g", "10g"]))
    def submit(self, excluded: frozenset[int], variant: str | None) -> None:
        job_id = self._attempt(self._plant.submit(self.batch, ska(*excluded), variant=variant))
        if isinstance(job_id, DomainError):
            assert self._model.closed, job_id
            return
        run = range(1, SIZE + 1) if variant is None else RUNS[variant]
        self._model.jobs.append(ModelJob(job_id, run[0], run[-1], reached=run[0]))
        self._model.exclusions |= {(number, job_id) for number in excluded}
        self._model.leave_queue(excluded)

    @rule(chunks=st.integers(0, 6), newest=st.booleans(), end=st.sampled_from(["keep", "release", "fail"]))
    def run_a_job(self, *, chunks: int, newest: bool, end: str) -> None:
        """A job that is held already goes on, or the next one is claimed; interrupted, it ends in one of three ways."""
        database, model = self._runtime.database, self._model
        held = [job for job in model.jobs if job.claim is not None]
        if held and not newest:
            job = held[0]
        else:
            claims = self._do(claim_work(database, REVERSE_JOBS, 1, lease_seconds=300))
            assert bool(claims) == any(job.status == "queued" for job in model.jobs)
            if not claims:
                return
            job = next(job for job in model.jobs if job.job_id == claims[0].id)
            assert job.status == "queued"
            job.status, job.claim = "running", claims[0]
        assert job.claim is not None
        finished = self._advance(job, chunks)
        try:
            self._do(run_reverse_job(database, job.claim, AfterChunks(chunks)))
            assert finished
        except Interrupted:
            assert not finished
            self._interrupted(job, end)
            return
        job.status, job.claim = "completed", None
        summary = self._do(self._plant.sql("SELECT result_summary FROM qr_reverse_jobs WHERE id = :id", id=job.job_id))
        counted = summary[0].result_summary
        handled = job.prepared + job.duplicates + job.excluded
        assert (counted["prepared"], counted["duplicates"], counted["excluded_count"], counted["invalid"]) == (
            job.prepared,
            job.duplicates,
            job.excluded,
            job.total - handled,
        )
        assert counted["invalid"] >= 0
        assert counted["total_available"] == job.total

    def _advance(self, job: ModelJob, chunks: int) -> bool:
        """Counts once, then goes that many chunks on; True when nothing is left."""
        model = self._model
        if job.counted_at is None:
            job.counted_at = model.clock
            job.total = sum(model.codes[number].available for number in range(job.first, job.last + 1))
        for _ in range(min(chunks, SIZE)):
            for number in range(job.reached, min(job.reached + CHUNK, job.last + 1)):
                code = model.codes[number]
                if not code.available or code.released > job.counted_at:
                    continue
                if model.excluded(number):
                    job.excluded += 1
                elif number in model.queue:
                    job.duplicates += 1
                else:
                    job.prepared += 1
                    model.queue[number] = job.job_id
                    code.queued_at = model.tick()
            job.reached = min(job.reached + CHUNK, job.last + 1)
        return job.reached > job.last

    def _interrupted(self, job: ModelJob, end: str) -> None:
        assert job.claim is not None
        if end == "release":
            self._do(release_claim(self._runtime.database, REVERSE_JOBS, job.claim))
            job.status, job.claim = "queued", None
        elif end == "fail":
            failed = fail_reverse_job(self._runtime.database, job.claim, "pulled the plug", permanent=True)
            assert self._do(failed) is None
            job.status, job.claim = "failed", None

    @rule(place=st.integers(0, 9))
    def cancel(self, place: int) -> None:
        jobs = [job for job in self._model.jobs if job.status in ("queued", "running")]
        if not jobs:
            return
        job = jobs[place % len(jobs)]
        self._do(cancel_reverse_job(self._runtime.database, caller=self._plant.caller, job_id=job.job_id))
        if job.claim is not None:
            with pytest.raises(LeaseLost):
                self._do(run_reverse_job(self._runtime.database, job.claim, StopSignal()))
        job.status, job.claim = "cancelled", None
        self._model.leave_queue([number for number, owner in self._model.queue.items() if owner == job.job_id])
        self._model.exclusions = {entry for entry in self._model.exclusions if entry[1] != job.job_id}

    @rule(place=st.integers(0, 9))
    def retry(self, place: int) -> None:
        jobs = [job for job in self._model.jobs if job.status == "failed"]
        if jobs:
            job = jobs[place % len(jobs)]
            retrying = retry_reverse_job(self._runtime.database, caller=self._plant.caller, job_id=job.job_id)
            if self._happens(retrying, foreseen=not self._model.closed):
                job.status = "queued"

    @rule(asked=Orders)
    def pack(self, asked: Asked) -> None:
        opened = [case for case in range(len(CASES)) if not self._model.inside(case)]
        if opened and not asked.wild:
            asked = replace(asked, case=opened[asked.case % len(opened)])
        run = RUNS[self._model.cases[asked.case].variant]
        waiting = list(run) if asked.wild else [number for number in sorted(self._model.queue) if number in run]
        start = waiting[asked.first % len(waiting)] if waiting and asked.first is not None else None
        missing = frozenset(number for number in asked.missing if number in run and number != start)
        # What is missing elsewhere is another matter: tests/domain/packing/test_case_packing.py.
        rows = [number for number in sorted(self._model.queue) if number in run and number >= (start or run[0])]
        takable = [number for number in rows if self._model.packable(number) and number not in missing]
        taken = takable[: asked.units or self._model.cases[asked.case].expected]
        missing = frozenset(number for number in missing if taken and rows[0] <= number <= taken[-1])
        foreseen = self._foresee(asked, start, missing)
        last = foreseen[-1] if isinstance(foreseen, list) and asked.verify and start is not None else None
        packed = self._attempt(
            self._plant.pack(
                self.batch,
                asked.case,
                target_units=asked.units,
                allow_partial=asked.partial,
                first_code=None if start is None else ska(start)[0],
                last_code=None if last is None else ska(last)[0],
                missing_codes=ska(*missing),
                station=asked.station,
            )
        )
        if isinstance(packed, DomainError):
            assert not isinstance(foreseen, list), packed
            assert isinstance(packed, foreseen)
            return
        assert isinstance(foreseen, list)
        assert list(packed.linked_codes) == ska(*foreseen)
        assert packed.master_code_info.completeness == ("verified" if last is not None else "inferred")
        self._model.exclusions |= {(number, None) for number in missing}
        stale = [
            number
            for number in self._model.queue
            if number in run
            and (start or run[0]) <= number <= foreseen[-1]
            and number not in foreseen
            and not self._model.packable(number)
        ]
        waiting = [number for number in run if number in self._model.queue and self._model.codes[number].available]
        skipped = [number for number in waiting if start is not None and number < start]
        assert (packed.skipped and packed.skipped.count) == (len(skipped) or None)
        checked = [number for number in sorted(stale) if self._model.codes[number].status == "scanned"]
        assert list(packed.left_queue) == ska(*checked)
        self._model.leave_queue([*stale, *missing])
        self._model.consume(foreseen, asked.case)
        self._model.cases[asked.case].station = asked.station
        self._model.cases[asked.case].packed_at = self._model.tick()

    def _foresee(self, asked: Asked, start: int | None, missing: frozenset[int]) -> list[int] | type[DomainError]:
        """The units that the case must take, or the refusal."""
        model = self._model
        run, target = RUNS[model.cases[asked.case].variant], asked.units or model.cases[asked.case].expected
        if model.closed or model.inside(asked.case) or any(not model.codes[number].available for number in missing):
            return DomainError
        takable = [
            number
            for number in sorted(model.queue)
            if number in run and number >= (start or 1) and model.packable(number) and number not in missing
        ]
        if start is not None and takable[:1] != [start]:
            return FirstCodeNotPrepared
        if not takable or (len(takable) < target and not asked.partial):
            return NotEnoughPrepared
        taken = takable[:target]
        if start is not None and any(self._crosses(asked, taken, number) for number in range(taken[0], taken[-1])):
            return CountDrift
        return taken

    def _crosses(self, asked: Asked, taken: list[int], number: int) -> bool:
        """Whether the unit between those taken was packed by another station, or passed some of them by on its roll."""
        code = self._model.codes[number]
        if code.case is None:
            return False
        box = self._model.cases[code.case]
        if asked.station is not None:
            return box.station != asked.station
        passed = [other for other in taken if self._model.codes[other].queued_at < box.packed_at]
        return bool(passed) and passed[0] < number < passed[-1]

    @rule(case=st.integers(0, len(CASES) - 1), numbers=Numbers, accept_valid=st.booleans(), station=Station)
    def link(self, *, case: int, numbers: frozenset[int], accept_valid: bool, station: str | None) -> None:
        model = self._model
        box = model.cases[case]
        room = box.expected - len(model.inside(case))
        good = [number for number in sorted(numbers) if model.packable(number) and number in RUNS[box.variant]][:room]
        foreseen = bool(good) and (accept_valid or len(good) == len(numbers)) and not model.closed
        linked = self._attempt(
            self._plant.link(self.batch, ska(*sorted(numbers)), case=case, accept_valid=accept_valid, station=station)
        )
        if isinstance(linked, DomainError):
            assert not foreseen, linked
            return
        assert foreseen
        assert list(linked.linked_codes) == ska(*good)
        if not model.inside(case):
            box.packed_at = model.tick()
            box.station = None
        box.station = box.station or station
        model.consume(good, case)

    @rule(numbers=Numbers, wild=Seldom, requeue=st.booleans())
    def unlink(self, *, numbers: frozenset[int], wild: bool, requeue: bool) -> None:
        packed = [number for number, code in self._model.codes.items() if code.status == "packed"]
        if packed and not wild:
            numbers = frozenset(packed[number % len(packed)] for number in numbers)
        foreseen = bool(numbers) and numbers <= set(packed) and not self._model.closed
        self._undo(self._plant.unlink(ska(*numbers), requeue=requeue), numbers, foreseen=foreseen, requeue=requeue)

    @rule(case=st.integers(0, len(CASES) - 1), requeue=st.booleans())
    def unlink_case(self, *, case: int, requeue: bool) -> None:
        numbers = frozenset(self._model.inside(case))
        whole = all(self._model.codes[number].status == "packed" for number in numbers)
        foreseen = bool(numbers) and whole and not self._model.closed
        undoing = self._plant.unlink(master_code=self.batch.master_codes[case], requeue=requeue)
        self._undo(undoing, numbers, foreseen=foreseen, requeue=requeue)

    def _undo(
        self, undoing: Coroutine[Any, Any, UnlinkedCodes], numbers: frozenset[int], *, foreseen: bool, requeue: bool
    ) -> None:
        undone = self._attempt(undoing)
        if isinstance(undone, DomainError):
            assert not foreseen, undone
            return
        assert foreseen
        model = self._model
        model.tick()
        for number in numbers:
            code = model.codes[number]
            code.status, code.case = ("printed" if code.printed else "generated"), None
            code.released = model.clock
        waiting = model.requeue(numbers) if requeue else sum(number in model.queue for number in numbers)
        for number in numbers:
            model.codes[number].consumed = None
        assert (undone.requeued, undone.left_out) == (waiting, len(numbers) - waiting)
        self._forget_stations()

    @rule(from_case=st.integers(0, len(CASES) - 1), to_case=st.integers(0, len(CASES) - 1), wild=Seldom)
    def move(self, *, from_case: int, to_case: int, wild: bool) -> None:
        model = self._model
        filled = [case for case in range(len(CASES)) if model.inside(case)]
        if filled and not wild:
            from_case = filled[from_case % len(filled)]
        box, other, units = model.cases[from_case], model.cases[to_case], model.inside(from_case)
        fits = box.variant == other.variant and 0 < len(units) <= other.expected
        foreseen = fits and not model.inside(to_case) and not model.closed
        if not self._happens(self._plant.move(self.batch, from_case, to_case), foreseen=foreseen):
            return
        for number in units:
            model.codes[number].case = to_case
        other.station, other.packed_at = box.station, box.packed_at
        self._forget_stations()

    @rule(really=st.integers(0, 19))
    def close(self, really: int) -> None:
        """Seldom, since little can be done after it."""
        if really:
            return
        model = self._model
        closing = close_batch(
            self._runtime.database, caller=self._plant.caller, batch_id=self.batch_id, reason="Run short"
        )
        if not self._happens(closing, foreseen=not model.closed):
            return
        for code in model.codes.values():
            if code.available:
                code.status, code.voided_by_closing = "void", True
        for job in model.jobs:
            if job.status in ("queued", "running"):
                job.status, job.claim = "cancelled", None
        model.queue.clear()
        model.closed = True

    def _forget_stations(self) -> None:
        for case, box in enumerate(self._model.cases):
            if not self._model.inside(case):
                box.station = None

    @rule(numbers=st.frozensets(st.integers(1, SIZE), max_size=2))
    def void(self, numbers: frozenset[int]) -> None:
        codes = [self._model.codes[number] for number in numbers]
        foreseen = bool(codes) and all(code.status != "void" for code in codes)
        if not self._happens(
            void_codes(
                self._runtime.database,
                caller=self._plant.caller,
                batch_id=self.batch_id,
                codes=ska(*numbers),
                reason="Damaged",
            ),
            foreseen=foreseen,
        ):
            return
        for code in codes:
            code.status, code.case = "void", None
        self._model.leave_queue(numbers)
        self._forget_stations()

    @rule(number=st.integers(1, SIZE))
    def scan(self, number: int) -> None:
        """A consumer checks a unit: no lock of the batch is held, and the queue is not told."""
        code = self._model.codes[number]
        if code.available or code.status == "packed":
            self._do(
                self._plant.sql(
                    "UPDATE qr_codes SET status = 'scanned', scanned_at = now() WHERE batch_id = :id"
                    " AND sequence_number = :number",
                    id=self.batch_id,
                    number=number,
                )
            )
            code.status = "scanned"

    @rule(numbers=Numbers)
    def print_(self, numbers: frozenset[int]) -> None:
        codes = [self._model.codes[number] for number in numbers]
        foreseen = bool(codes) and all(code.available for code in codes) and not self._model.closed
        if not self._happens(
            mark_printed(
                self._runtime.database, caller=self._plant.caller, batch_id=self.batch_id, codes=ska(*numbers)
            ),
            foreseen=foreseen,
        ):
            return
        for code in codes:
            code.status, code.printed = "printed", True

    @rule(numbers=Numbers)
    def readmit(self, numbers: frozenset[int]) -> None:
        readmitting = readmit_codes(
            self._runtime.database, caller=self._plant.caller, batch_id=self.batch_id, codes=ska(*numbers)
        )
        if self._happens(readmitting, foreseen=bool(numbers) and not self._model.closed):
            self._model.exclusions = {entry for entry in self._model.exclusions if entry[0] not in numbers}

    @invariant()
    def both_agree(self) -> None:
        if self._batch is None:
            return
        model = self._model
        assert self._do(self._plant.states(self.batch)) == {number: code.status for number, code in model.codes.items()}
        assert self._do(self._plant.queue(self.batch)) == sorted(model.queue)
        found = self._do(self._plant.reconcile(self.batch))
        assert found.differences == []
        places = {
            "void": found.void,
            "in_case": found.in_case,
            "scanned": found.scanned_without_case,
            "prepared": found.prepared,
            "excluded": found.excluded,
            "voided_by_closing": found.voided_by_closing,
            "remaining": found.remaining,
        }
        assert places == model.places()
        for place in ("excluded", "prepared"):
            listed = self._do(self._plant.listed(self.batch, place))
            assert listed == [number for number in model.codes if model.place(number) == place]
        assert sum(places.values()) == found.generated == SIZE

    @invariant()
    def no_prepared_code_stands_before_the_head_of_its_queue(self) -> None:
        hidden = self._do(
            self._plant.sql(
                "SELECT queued.sequence_number, run.queue_head FROM qr_prepared_codes AS queued"
                " JOIN qr_batch_variants AS run ON run.batch_id = queued.batch_id"
                "  AND queued.sequence_number BETWEEN run.first_sequence AND run.last_sequence"
                " WHERE queued.status = 'prepared' AND queued.sequence_number < run.queue_head"
            )
        )
        assert hidden == []

    @invariant()
    def every_case_knows_what_is_in_it(self) -> None:
        boxes = self._do(
            self._plant.sql(
                "SELECT case_number, status, actual_units, first_code, last_code, station FROM qr_master_codes"
                " ORDER BY case_number"
            )
        )
        for box in boxes:
            inside = self._model.inside(box.case_number - 1)
            assert box.actual_units == len(inside)
            assert box.status == ("packed" if inside else "open")
            assert [box.first_code, box.last_code] == (ska(inside[0], inside[-1]) if inside else [None, None])
            assert box.station == self._model.cases[box.case_number - 1].station


def test_the_packing_line_and_its_model_agree_after_every_step(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtrack.services.packing.preparation.CHUNK", CHUNK)
    with asyncio.Runner() as runner:
        opened = open_runtime(settings)
        runtime = runner.run(opened.__aenter__())
        try:
            run_state_machine_as_test(
                lambda: PackingLine(runner, runtime),  # type: ignore[arg-type]  # a factory will do, as documented
                settings=hypothesis_settings(
                    max_examples=60,
                    stateful_step_count=40,
                    deadline=None,
                    derandomize=False,
                    suppress_health_check=list(HealthCheck),
                    print_blob=True,
                ),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
