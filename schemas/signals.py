"""The signals by which a processor says that it can't finish an event; the streams handle each in one place.

    Signal
     ├─ Invalid   the event itself is wrong: it becomes a dead letter or a rejected result, never a retry
     ├─ Retry     trying again after a wait may succeed
     └─ Busy      the destination has no capacity now: wait without counting an attempt
"""

from dataclasses import dataclass


class Signal(Exception):
    """Base of the three signals."""


@dataclass(eq=False)
class Invalid(Signal):
    """`reason` is a stable code for programs (a DeadLetter.reason); `message` says what to fix."""

    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(eq=False)
class Retry(Signal):
    """Try again after `after` seconds."""

    after: float
    message: str = ""


@dataclass(eq=False)
class Busy(Signal):
    """No capacity before `after` seconds have passed."""

    after: float
    message: str = ""
