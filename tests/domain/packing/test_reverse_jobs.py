import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.packing.reverse_jobs import job_progress


@pytest.mark.parametrize(
    ("done", "total", "progress"),
    [(0, 1000, 30), (450, 1000, 57), (999, 1000, 89), (1000, 1000, 90), (2000, 1000, 90), (-1, 1000, 30), (0, 0, 90)],
)
def test_progress_grows_from_30_to_90_with_the_chunks(done: int, total: int, progress: int) -> None:
    assert job_progress(done, total) == progress


@given(st.integers(1, 10**6), st.data())
def test_progress_never_falls(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, total - 1))
    assert job_progress(done, total) <= job_progress(done + 1, total)
