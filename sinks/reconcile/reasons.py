"""What explains missing rows, as the database tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter of the sink: why a record has no row."""

    id: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """An order to erase the texts of a tenant, or of one of its users (empty: of all), that ended by `until` (ms)."""

    tenant: str
    user: str
    until: int
