"""What an adapter does about a request parameter that its target can't express: the model's policy decides."""

from typing import Literal

from schemas.signals import Invalid

UNSUPPORTED = "unsupported_parameter"


class Dropped:
    """Gathers the parameters that a request leaves out; `names` go into the outcome and the audit event.

    `policy` is the model's `unsupported`: under `reject` the first one fails the attempt instead.
    """

    __slots__ = ("_names", "_policy")

    def __init__(self, policy: Literal["drop", "reject"]) -> None:
        self._policy = policy
        self._names: list[str] = []

    def note(self, name: str, why: str) -> None:
        """Leave out the parameter `name` (dotted: parameters.seed). Raises signals.Invalid under `reject`."""
        if self._policy == "reject":
            message = f"{name}: {why}; leave it out, or let it fall with `unsupported: drop` of the model"
            raise Invalid(UNSUPPORTED, message)
        if name not in self._names:
            self._names.append(name)

    @property
    def names(self) -> tuple[str, ...]:
        """What was dropped so far, in order."""
        return tuple(self._names)
