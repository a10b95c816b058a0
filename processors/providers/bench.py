"""Why a key or a deployment isn't called for a while, and how it comes back: by a probe, one call at a time.

failure                  | what is benched            | for how long
auth                     | the key                    | 5 s, doubled with each failed probe, to a minute
forbidden                | the key for the deployment | 5 s, doubled with each failed probe, to a minute
spend_limit              | the key                    | a minute
no_such_model            | the deployment             | 5 s, doubled with each failed probe, to a minute
rate_limited with a wait | the key for the deployment | that wait, a minute at most
overloaded with a wait   | the deployment             | that wait and up to a quarter more, a minute at most
no way to call it at all | the key                    | 5 s, doubled with each further look, to a minute
anything else            | nothing (a breaker's part) |

Nothing is benched for good: a key is mended where it was made (paid for, allowed, its file renewed), and nobody tells
us. A probe costs nothing, as its failure isn't paid, and the task that makes it goes on elsewhere. One that hasn't
found out anything after 5 s is followed by another: a call that hangs must not hold the others.
"""

from dataclasses import dataclass
from typing import Final, Literal

from schemas.records import ErrorInfo

Scope = Literal["key", "deployment", "both"]
LONGEST_S: Final = 60.0
PROBE_S: Final = 5.0
_FIRST_S: Final = 5.0
_JITTER: Final = 0.25
_SCOPES: Final[dict[str, Scope]] = {
    "auth": "key",
    "forbidden": "both",
    "spend_limit": "key",
    "no_such_model": "deployment",
    "rate_limited": "both",
    "overloaded": "deployment",
}
# Waiting doesn't mend these: while nothing else is in service, tasks are told so at once.
HOPELESS: Final = frozenset({"auth", "forbidden", "spend_limit", "no_such_model"})
# The provider took the key and the model, whatever it says about the request.
_PROVES: Final = frozenset({"invalid_request", "context_exceeded", "content_filter"})


@dataclass(slots=True, eq=False)
class Bench:
    """In service while `until` is 0. Times are monotonic seconds. `strikes`: failed probes without a success between.

    After `until` one call at a time may start; what it finds ends the bench or begins it anew. `hopeless`: waiting
    doesn't mend it.
    """

    until: float = 0.0
    strikes: int = 0
    probing_until: float = 0.0
    hopeless: bool = False
    error: ErrorInfo | None = None

    def wait(self, now: float) -> float:
        """Seconds until a call may start, 0 now. A probe that ends may let one start earlier."""
        if self.until == 0.0:
            return 0.0
        return max(0.0, self.until - now, self.probing_until - now)

    def put(self, error: ErrorInfo, now: float, jitter: float = 0.0, *, uncallable: bool = False) -> None:
        """Bench for `error`, as the table says. A shorter wait never ends a longer one."""
        kind, asked_s = error.error_class, (error.retry_after_ms or 0) / 1000
        hopeless = uncallable or kind in HOPELESS
        if hopeless and now < self.until:
            return  # the calls that were under way all fail alike: they are one strike
        if kind == "spend_limit":
            seconds = LONGEST_S
        elif hopeless:
            seconds = _FIRST_S * 2 ** min(self.strikes, 10)
        else:
            seconds = asked_s * (1 + _JITTER * jitter) if kind == "overloaded" else asked_s
        self.until = max(self.until, now + min(LONGEST_S, seconds))
        self.error, self.hopeless = error, hopeless
        self.strikes += 1
        self.probing_until = 0.0

    def clear(self) -> None:
        """In service again."""
        self.until = self.probing_until = 0.0
        self.strikes, self.hopeless, self.error = 0, False, None


class Benches:
    """Those that bear on one key at one deployment; a key's is shared by its deployments, and the other way round."""

    __slots__ = ("_all", "both", "deployment", "key")

    def __init__(self, key: Bench, deployment: Bench, both: Bench) -> None:
        self.key, self.deployment, self.both = key, deployment, both
        self._all = (key, deployment, both)

    def wait(self, now: float) -> float:
        """Seconds until a call may start, 0 now."""
        longest = 0.0
        for bench in self._all:
            if bench.until:
                longest = max(longest, bench.wait(now))
        return longest

    def hopeless(self) -> ErrorInfo | None:
        """The error for which it is benched, where waiting doesn't mend it."""
        for bench in self._all:
            if bench.until and bench.hopeless:
                return bench.error
        return None

    def probed(self, now: float) -> tuple[Bench, ...]:
        """A call starts: it is the probe of these."""
        found = tuple(bench for bench in self._all if bench.until)
        for bench in found:
            bench.probing_until = now + PROBE_S
        return found

    def of(self, error: ErrorInfo) -> Bench | None:
        """The bench that an error puts something on; None where it benches nothing."""
        kind = error.error_class
        scope = _SCOPES.get(kind)
        if scope is None or (kind not in HOPELESS and error.retry_after_ms is None):
            return None
        return {"key": self.key, "deployment": self.deployment, "both": self.both}[scope]


def proves(error: ErrorInfo) -> bool:
    """Whether a failure shows that the provider took the key and the model."""
    return error.error_class in _PROVES
