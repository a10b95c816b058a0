"""What the state machine is given: configuration, clock, and the decisions that others may replace."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from processors.budget import Budget, Unlimited
from processors.choose import AllHealthy, Chooser, FirstHealthy, Health
from processors.guard import Guard, PassAll
from processors.policy import AllowAll, Policy
from schemas.config import Config
from schemas.records import Outcome


class ConfigLookup(Protocol):
    """The configurations by version."""

    def get(self, version: str) -> Config:
        """Raises KeyError where the version isn't known here yet."""
        ...

    def active(self) -> tuple[str, Config]:
        """The version in force, and its configuration."""
        ...


@dataclass(frozen=True, slots=True)
class Seams:
    """The replaceable decisions. `encode` gives an outcome's Avro bytes, for a quarantine letter."""

    encode: Callable[[Outcome], bytes]
    policy: Policy = field(default_factory=AllowAll)
    budget: Budget = field(default_factory=Unlimited)
    guard: Guard = field(default_factory=PassAll)
    chooser: Chooser = field(default_factory=FirstHealthy)
    health: Health = field(default_factory=AllHealthy)
