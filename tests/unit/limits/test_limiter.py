"""The limiter, over every backend."""

import pytest

from processors.limits.backend import Backend, MemoryBackend
from processors.limits.limiter import Limiter
from schemas.config import RateLimits


@pytest.fixture(params=[MemoryBackend])
def backend(request: pytest.FixtureRequest) -> Backend:
    made: Backend = request.param()
    return made


def limiter(backend: Backend, **limits: int) -> Limiter:
    return Limiter("m", RateLimits.model_validate(limits), backend)


def test_concurrency_is_exact(backend: Backend) -> None:
    calls = limiter(backend, concurrency=2)
    assert [calls.try_start(1, 0.0) for _ in range(3)] == [0.0, 0.0, None]
    calls.ended(1, 1, 0.0)
    assert calls.try_start(1, 0.0) == 0.0


def test_requests_a_minute(backend: Backend) -> None:
    """120 a minute: 6 at once, then 1.9 a second."""
    calls = limiter(backend, rpm=120, concurrency=1000)
    assert [calls.try_start(1, 100.0) for _ in range(6)] == [0.0] * 6
    wait = calls.try_start(1, 100.0)
    assert wait == pytest.approx(1 / 1.9)
    assert calls.running == 6, "a refused start takes nothing"
    assert calls.try_start(1, 100.0 + (wait or 0) + 1e-6) == 0.0


def test_no_limit_is_taken_where_another_refuses(backend: Backend) -> None:
    calls = limiter(backend, rpm=1200, tpm=1200, concurrency=1000)
    assert calls.try_start(60, 0.0) == 0.0
    for _ in range(100):
        assert (calls.try_start(60, 0.0) or 0) > 0
    started = [calls.try_start(0, 0.0) for _ in range(59)]
    assert started == [0.0] * 59, "refusals for want of tokens cost no requests"


def test_an_oversize_request_goes_into_debt_that_others_wait_out(backend: Backend) -> None:
    calls = limiter(backend, tpm=1200, concurrency=1000)
    assert calls.try_start(600, 0.0) == 0.0, "ten times the capacity of 60: it may go when the bucket is full"
    wait = calls.try_start(10, 0.0)
    assert wait == pytest.approx((540 + 10) / 19)
    assert calls.try_start(10, 540 / 19) == pytest.approx(10 / 19)
    assert calls.try_start(10, 550 / 19 + 1e-6) == 0.0


def test_the_end_of_a_call_corrects_what_it_reserved(backend: Backend) -> None:
    calls = limiter(backend, tpm=1200, concurrency=1000)
    assert calls.try_start(60, 0.0) == 0.0
    assert (calls.try_start(30, 0.0) or 0) > 0
    calls.ended(60, 10, 0.0)
    assert calls.try_start(30, 0.0) == 0.0, "it used 10 of 60"
    calls.ended(30, 130, 0.0)
    assert calls.try_start(1, 0.0) == pytest.approx((20 - 100 + 0) / -19 + 1 / 19), "it used 100 more: debt"


def test_an_unknown_end_gives_nothing_back(backend: Backend) -> None:
    calls = limiter(backend, tpm=1200, concurrency=1000)
    calls.try_start(60, 0.0)
    calls.ended(60, None, 0.0)
    assert (calls.try_start(1, 0.0) or 0) > 0


def test_changed_limits_hold_from_the_next_start(backend: Backend) -> None:
    calls = limiter(backend, concurrency=1)
    assert calls.try_start(1, 0.0) == 0.0
    calls.limits = RateLimits.model_validate({"concurrency": 2})
    assert calls.try_start(1, 0.0) == 0.0


def test_a_clock_that_stands_still_adds_nothing(backend: Backend) -> None:
    calls = limiter(backend, rpm=20, concurrency=9)
    assert calls.try_start(1, 50.0) == 0.0
    assert (calls.try_start(1, 49.0) or 0) > 0
