from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.estimates import eta_seconds, percentage


@given(st.integers(1, 10**6), st.data())
def test_progress_never_falls_as_more_is_done(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, total - 1))
    assert percentage(done, total) <= percentage(done + 1, total)


@given(st.integers(1, 10**9), st.data())
def test_100_percent_means_all_of_it(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, total - 1))
    assert 0 <= percentage(done, total) <= 99
    assert percentage(total, total) == 100


def test_a_job_without_work_is_complete() -> None:
    assert percentage(0, 0) == 100


def test_the_remaining_time_follows_the_pace_so_far_and_is_rounded_up() -> None:
    assert eta_seconds(1, 4, 10) == 30
    assert eta_seconds(3, 4, 10) == 4


def test_without_a_pace_no_time_is_promised() -> None:
    assert eta_seconds(0, 4, 10) is None
    assert eta_seconds(2, 4, 0) is None


def test_a_complete_job_takes_no_more_time() -> None:
    assert eta_seconds(4, 4, 0) == 0
