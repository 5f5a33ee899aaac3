import pytest

from qrtrack.domain.jobs import TERMINAL_JOBS, JobStatus
from qrtrack.domain.packing.states import AVAILABLE, TRANSITIONS, CodeStatus, sources

LIVE = {CodeStatus.GENERATED, CodeStatus.PRINTED, CodeStatus.PACKED, CodeStatus.SCANNED}


def test_every_state_of_a_code_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(CodeStatus)


@pytest.mark.parametrize(
    ("target", "from_states"),
    [
        (CodeStatus.GENERATED, set()),
        (CodeStatus.PRINTED, {"generated"}),
        (CodeStatus.PACKED, {"generated", "printed"}),
        (CodeStatus.SCANNED, {"generated", "printed", "packed"}),
        (CodeStatus.REDEEMED, LIVE),
        (CodeStatus.VOID, LIVE),
    ],
)
def test_a_state_is_reached_only_from_earlier_states(target: CodeStatus, from_states: set[str]) -> None:
    assert sources(target) == from_states


def test_available_codes_may_be_packed() -> None:
    assert sources(CodeStatus.PACKED) == AVAILABLE


def test_no_step_leads_out_of_a_terminal_state() -> None:
    assert {status for status, targets in TRANSITIONS.items() if not targets} == {CodeStatus.REDEEMED, CodeStatus.VOID}
    assert {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED} == TERMINAL_JOBS
