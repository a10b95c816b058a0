"""Where a model's next call goes: which deployment, with which key. Decisions only; times are given by the caller.

Among the targets that may be called now, deployments get calls by their weights and keys in turn; those of weight 0
serve while no other does. A target that failed an attempt comes last for it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from processors.limits.limiter import Limiter
from processors.providers.base import Adapter
from processors.providers.bench import Bench, Benches, proves
from processors.providers.call import Transport
from schemas.config import Deployment, Model
from schemas.records import ErrorInfo

# What another deployment or key may serve, as nothing was paid.
ELSEWHERE: Final = frozenset(
    {"auth", "forbidden", "spend_limit", "no_such_model", "rate_limited", "overloaded", "connection"}
)
# The key was refused, wholly or for the model: there may be a new one, or the same with more rights.
_REFUSED_KEY: Final = frozenset({"auth", "forbidden"})


class Breaker(Protocol):
    """Opens for a deployment that fails, whatever the reason: a seam, closed for ever by default."""

    def wait(self, deployment: str, now: float) -> float | None:
        """Seconds until a call may start, 0 now; None while a probe is under way."""

    def succeeded(self, deployment: str, now: float) -> None:
        """A call ended well."""

    def failed(self, deployment: str, error: ErrorInfo, now: float) -> None:
        """A call failed."""


class AlwaysClosed:
    """Every deployment may be called."""

    def wait(self, deployment: str, now: float) -> float | None:
        return 0.0

    def succeeded(self, deployment: str, now: float) -> None:
        pass

    def failed(self, deployment: str, error: ErrorInfo, now: float) -> None:
        pass


class NoTarget(Exception):
    """A provider can't be called as it is configured; `error_class` is that of the outcome."""

    def __init__(self, error_class: str, message: str, retriable: bool = True) -> None:
        super().__init__(message)
        self.error_class, self.retriable = error_class, retriable


class Connection(Protocol):
    """The way to a provider with one key, shared by every model that uses it."""

    def transport(self) -> Transport:
        """The transport, made when it is first wanted. Raises NoTarget where a secret or credentials can't be had."""

    def drop(self) -> None:
        """The key was refused: its secret is looked up anew for the next call, as it may have been renewed."""


@dataclass(slots=True, eq=False)
class Target:
    """One key at one deployment. `model` is the model as the adapter takes it; `key` names the key, never shows it.

    `share`: of the calls, among those that may be called.
    """

    deployment: Deployment
    key: str | None
    model: Model
    adapter: Adapter
    connection: Connection
    benches: Benches
    limiter: Limiter | None = None
    share: float = 1.0
    credit: float = 0.0
    id: str = ""

    def __post_init__(self) -> None:
        self.id = f"{self.deployment.id}#{self.key}"


@dataclass(slots=True, eq=False)
class Grant:
    """Leave for one call at a target; `probes` are the benches that it probes."""

    target: Target
    transport: Transport
    probes: tuple[Bench, ...] = ()


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing may be called for so many seconds; None: until a call ends."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing will serve before someone mends it."""

    error: ErrorInfo


class Pool:
    """The targets of one model under one configuration; benches and key limits outlive it."""

    def __init__(self, targets: Sequence[Target], breaker: Breaker | None = None) -> None:
        self.targets = list(targets)
        self._breaker = breaker or AlwaysClosed()

    def look(self, tokens: int, now: float, tried: Collection[str] = ()) -> Target | Later | Refused:
        """The target of the next call, of `tokens`; nothing is taken yet. `tried`: ids that failed the attempt."""
        free: list[Target] = []
        waits: list[float | None] = []
        hopeless: ErrorInfo | None = None
        for target in self.targets:
            wait = self._wait(target, tokens, now)
            if wait == 0.0 and self._connected(target, now):
                free.append(target)
                continue
            error = target.benches.hopeless()
            if error is None:
                waits.append(wait)
            else:
                hopeless = hopeless or error
        if free:
            return free[0] if len(free) == 1 else _best(free, tried)
        if not waits and hopeless is not None:
            return Refused(hopeless)
        told = [wait for wait in waits if wait is not None]
        return Later(min(told) if told else None)

    def take(self, target: Target, tokens: int, now: float) -> Grant:
        """A call of `tokens` starts at a target that `look` gave."""
        if len(self.targets) > 1:
            self._turn(target)
        if target.limiter is not None:
            target.limiter.start(tokens, now)
        return Grant(target, target.connection.transport(), target.benches.probed(now))

    def ended(self, grant: Grant, reserved: int, used: int | None, now: float) -> bool:
        """The call ended, in whatever way; see Limiter.ended. True where others that wait may start by it."""
        limiter = grant.target.limiter
        if limiter is not None:
            limiter.ended(reserved, used, now)
        unsettled = [bench for bench in grant.probes if bench.probing_until]
        for bench in unsettled:
            bench.probing_until = 0.0
        return limiter is not None or bool(unsettled)

    def accepted(self, grant: Grant) -> bool:
        """The provider began to answer. True where that ended a bench.

        Only a probe's answer does: one to a call that started before says nothing about what was told since.
        """
        found, grant.probes = grant.probes, ()
        for bench in found:
            bench.clear()
        return bool(found)

    def succeeded(self, grant: Grant, now: float) -> None:
        """The answer is whole."""
        self._breaker.succeeded(grant.target.deployment.id, now)

    def failed(self, grant: Grant, error: ErrorInfo, now: float, jitter: float) -> Bench | None:
        """The call failed; `jitter` lies between 0 and 1. Returns what was benched for it."""
        target = grant.target
        self._breaker.failed(target.deployment.id, error, now)
        if error.error_class in _REFUSED_KEY:
            target.connection.drop()
        if proves(error):
            self.accepted(grant)
        bench = target.benches.of(error)
        if bench is not None:
            bench.put(error, now, jitter)
        return bench

    def has_other(self, tried: Collection[str], tokens: int, now: float) -> bool:
        """Whether a target that the attempt hasn't tried may be called now."""
        return any(
            target.id not in tried and self._wait(target, tokens, now) == 0.0 and self._connected(target, now)
            for target in self.targets
        )

    def _wait(self, target: Target, tokens: int, now: float) -> float | None:
        wait = target.benches.wait(now)
        opens = self._breaker.wait(target.deployment.id, now)
        if opens is None:
            return None
        wait = max(wait, opens)
        if wait == 0.0 and target.limiter is not None:
            return target.limiter.wait(tokens, now)
        return wait

    def _connected(self, target: Target, now: float) -> bool:
        try:
            target.connection.transport()
        except NoTarget as problem:
            error = ErrorInfo(
                error_class=problem.error_class, message=str(problem)[:500], retriable=problem.retriable
            )
            target.benches.key.put(error, now, uncallable=True)
            return False
        return True

    def _turn(self, chosen: Target) -> None:
        """Smooth weighted round robin: each gains its share, what is called pays for all.

        Nobody's credit goes beyond one round: what couldn't be called for long gets no burst when it is back.
        """
        shares = sum(target.share for target in self.targets)
        for target in self.targets:
            target.credit = min(target.credit + target.share, shares)
        chosen.credit = max(chosen.credit - shares, -shares)


def _best(free: list[Target], tried: Collection[str]) -> Target:
    fresh = [target for target in free if target.id not in tried] or free
    serving = [target for target in fresh if target.share > 0] or fresh
    return max(serving, key=lambda target: target.credit + target.share)
