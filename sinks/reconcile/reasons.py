"""What explains missing rows, as the database tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter of the sink: why a record has no row."""

    id: str
    reason: str
    message: str
