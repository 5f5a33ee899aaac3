import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.progress import SurplusRecords, eta_seconds, job_progress, percentage


@pytest.mark.parametrize(
    ("done", "total", "progress"),
    [(0, 1000, 30), (450, 1000, 57), (999, 1000, 89), (1000, 1000, 90), (2000, 1000, 90), (-1, 1000, 30), (0, 0, 90)],
)
def test_a_job_moves_from_30_to_90_while_its_chunks_land(done: int, total: int, progress: int) -> None:
    assert job_progress(done, total) == progress


@given(st.integers(1, 10**6), st.data())
def test_progress_never_falls_as_more_is_done(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, total - 1))
    assert job_progress(done, total) <= job_progress(done + 1, total)
    assert percentage(done, total) <= percentage(done + 1, total)


@given(st.integers(1, 10**9), st.data())
def test_100_percent_means_all_of_it(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, total - 1))
    assert 0 <= percentage(done, total) <= 99
    assert percentage(total, total) == 100


def test_nothing_to_do_is_all_done() -> None:
    assert percentage(0, 0) == 100


def test_the_remaining_time_follows_the_pace_so_far_and_is_rounded_up() -> None:
    assert eta_seconds(1, 4, 10) == 30
    assert eta_seconds(3, 4, 10) == 4


def test_without_a_pace_no_time_is_promised() -> None:
    assert eta_seconds(0, 4, 10) is None
    assert eta_seconds(2, 4, 0) is None


def test_what_is_done_takes_no_more_time() -> None:
    assert eta_seconds(4, 4, 0) == 0


def test_a_surplus_names_the_records_that_came_last() -> None:
    refusal = SurplusRecords(total=10, processed=8, new_keys=["a", "b", "c"])
    assert refusal.members == {"total_records": 10, "processed_records": 8, "surplus": 1, "keys": ["c"]}
    assert "1 records are more than the 10" in refusal.detail


def test_a_surplus_that_was_repaired_meanwhile_still_names_a_record() -> None:
    refusal = SurplusRecords(total=10, processed=5, new_keys=["a"])
    assert (refusal.members["surplus"], refusal.members["keys"]) == (1, ["a"])
