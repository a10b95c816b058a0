"""The limits of one model, or of one key: requests and tokens a minute, calls at once."""

from processors.limits import bucket
from processors.limits.backend import Backend
from processors.limits.bucket import Level, Rule
from schemas.config import RateLimits


class Limiter:
    """Says when the next call may start. Times are monotonic seconds, given by the caller."""

    def __init__(self, key: str, limits: RateLimits, backend: Backend) -> None:
        self._key, self._backend = key, backend
        self.limits = limits
        self.running = 0

    def try_start(self, tokens: int, now: float) -> float | None:
        """Start a call of `tokens` (input plus the bound of its output) and return 0, or return the wait, seconds.

        None: the model is at its concurrency; the end of a call makes room.
        """
        wait = self.wait(tokens, now)
        if wait == 0.0:
            self.start(tokens, now)
        return wait

    def wait(self, tokens: int, now: float) -> float | None:
        """What `try_start` would return; nothing is taken."""
        if self.running >= self.limits.concurrency:
            return None
        waits = (self._wait(key, rule, now, units) for key, rule, units in self._rules(tokens))
        return max(waits, default=0.0)

    def start(self, tokens: int, now: float) -> None:
        """Start a call for which the wait is 0."""
        for key, rule, units in self._rules(tokens):
            self._take(key, rule, now, units)
        self.running += 1

    def ended(self, reserved: int, used: int | None, now: float) -> None:
        """A call ended: give back what it reserved beyond `used` tokens (None: unknown, so nothing)."""
        self.running -= 1
        if used is not None and self.limits.tpm is not None and used != reserved:
            self._take(f"{self._key}.tpm", Rule(self.limits.tpm), now, used - reserved)

    def _rules(self, tokens: int) -> list[tuple[str, Rule, float]]:
        limits = self.limits
        rules: list[tuple[str, Rule, float]] = []
        if limits.rpm:
            rules.append((f"{self._key}.rpm", Rule(limits.rpm), 1))
        if limits.tpm:
            rules.append((f"{self._key}.tpm", Rule(limits.tpm), tokens))
        return rules

    def _wait(self, key: str, rule: Rule, now: float, units: float) -> float:
        def change(level: Level | None) -> tuple[Level, float]:
            level = level or bucket.full(rule, now)
            return level, bucket.wait_for(level, rule, now, units)

        return self._backend.update(key, change)

    def _take(self, key: str, rule: Rule, now: float, units: float) -> None:
        def change(level: Level | None) -> tuple[Level, None]:
            return bucket.taken(level or bucket.full(rule, now), rule, now, units), None

        self._backend.update(key, change)
