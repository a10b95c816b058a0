"""The seam for access rules: which of the candidate models a request may use, or why it is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.config import Config
from schemas.records import ClassifiedRequest, Problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """The candidates left, best first; or the problems for which the request is rejected."""

    candidates: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class Policy(Protocol):
    def review(self, request: ClassifiedRequest, candidates: Sequence[str], config: Config) -> Verdict:
        """Called once for a request, before a model is chosen. Must be deterministic and do no I/O."""
        ...


class AllowAll:
    """Refuses nothing."""

    def review(self, request: ClassifiedRequest, candidates: Sequence[str], config: Config) -> Verdict:
        return Verdict(tuple(candidates))
