"""The token bucket as pure functions: state and time in, state and wait out.

A bucket is sized so that bursts count inside the quota: capacity is a twentieth of the limit a minute, and
the refill is what the limit leaves beside it; so no window of 60 s sees more than the limit (a request larger
than the capacity aside: it waits for a full bucket and goes into debt, which later requests wait out).
"""

from dataclasses import dataclass, replace

_WINDOW_S = 60.0
_BURST_SHARE = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` units in any 60 seconds."""

    limit: int

    @property
    def capacity(self) -> float:
        """Units that may go at once."""
        return max(1.0, self.limit / _BURST_SHARE)

    @property
    def refill(self) -> float:
        """Units a second."""
        return max(self.limit - self.capacity, 0.5) / _WINDOW_S


@dataclass(frozen=True, slots=True)
class Level:
    """Units a bucket has at `at` (seconds, monotonic), negative is debt."""

    units: float
    at: float


def full(rule: Rule, now: float) -> Level:
    """A bucket nobody has taken from."""
    return Level(rule.capacity, now)


def refilled(level: Level, rule: Rule, now: float) -> Level:
    """The bucket at `now`. A clock that stands still or goes back adds nothing."""
    if now <= level.at:
        return level
    return replace(level, units=min(rule.capacity, level.units + (now - level.at) * rule.refill), at=now)


def wait_for(level: Level, rule: Rule, now: float, units: float) -> float:
    """Seconds until `units` may be taken, 0 where they may be now. More than fit wait for a full bucket."""
    level = refilled(level, rule, now)
    lacking = min(units, rule.capacity) - level.units
    return lacking / rule.refill if lacking > 0 else 0.0


def taken(level: Level, rule: Rule, now: float, units: float) -> Level:
    """The bucket after taking `units` (negative: giving back), whether or not they are there."""
    level = refilled(level, rule, now)
    return replace(level, units=min(rule.capacity, level.units - units))
