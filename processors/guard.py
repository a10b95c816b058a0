"""The seam for checks of a result before it becomes visible."""

from typing import Protocol

from schemas.config import Config
from schemas.records import Outcome, Problem


class Guard(Protocol):
    def review(self, outcome: Outcome, config: Config) -> Problem | None:
        """Called for each success before it is final; a problem turns it into a failure of that code."""
        ...


class PassAll:
    """Lets every result through."""

    def review(self, outcome: Outcome, config: Config) -> Problem | None:
        return None
