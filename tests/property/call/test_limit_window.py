"""No window of a minute sees more than the limit."""

from hypothesis import given
from hypothesis import strategies as st

from processors.limits.backend import MemoryBackend
from processors.limits.limiter import Limiter
from schemas.config import RateLimits


@given(
    limit=st.integers(20, 600),
    pauses=st.lists(st.floats(0.1, 4), min_size=30, max_size=60),
    units=st.integers(1, 5),
)
def test_no_minute_sees_more_than_the_limit(limit: int, pauses: list[float], units: int) -> None:
    """After each pause everything goes that may; no single request exceeds the capacity."""
    units = min(units, limit // 20)
    calls = Limiter("m", RateLimits.model_validate({"tpm": limit, "concurrency": 10**6}), MemoryBackend())
    now, gone = 0.0, []
    for pause in pauses:
        now += pause
        while calls.try_start(units, now) == 0:
            gone.append(now)
    for start in set(gone):
        assert sum(units for at in gone if start <= at < start + 60) <= limit + 1e-6


@given(units=st.lists(st.integers(1, 30), min_size=1, max_size=50), limit=st.integers(20, 600))
def test_who_waits_as_told_may_go(units: list[int], limit: int) -> None:
    calls = Limiter("m", RateLimits.model_validate({"tpm": limit, "concurrency": 10**6}), MemoryBackend())
    now = 0.0
    for wanted in units:
        wait = calls.try_start(wanted, now)
        if wait:
            now += wait + 1e-6
            assert calls.try_start(wanted, now) == 0
