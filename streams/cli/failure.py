"""What a command tells the shell and the person when it can't do what was asked.

Failure            exit code
 ├─ Unwanted           1      it worked, with a bad answer (a fault found, a request failed)
 ├─ (usage)            2      the command line itself is wrong
 ├─ BadInput           3      a file, a line, a query or a configuration is wrong
 ├─ Unreachable        4      a broker, registry or database doesn't answer, or nothing is up
 ├─ NotFound           5      no such request, dead letter, model or tenant
 ├─ TimedOut           6      what was waited for didn't come in time
 └─ Refused            7      it would do harm (such as changing a partition count in use)
(Ctrl-C)             130
"""

from typing import ClassVar


class Failure(Exception):
    """An expected failure: `message` says what is wrong, `hint` what to do."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class Unwanted(Failure):
    """The command worked; its answer is a bad one. Without a message, the output has said it already."""

    code = 1

    def __init__(self, message: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint)


class BadInput(Failure):
    """What was given is wrong."""

    code = 3


class Ambiguous(BadInput):
    """What was given fits more than one thing."""


class Unreachable(Failure):
    """A part doesn't answer."""

    code = 4


class NotFound(Failure):
    """There is no such thing."""

    code = 5


class TimedOut(Failure):
    """It didn't come in time."""

    code = 6


class Refused(Failure):
    """It would do harm."""

    code = 7


def translate(error: BaseException, brokers: str | None = None) -> Failure | None:
    """The Failure that an expected error of a library stands for; None for an error that nobody expected."""
    if isinstance(error, Failure):
        return error
    kind = type(error)
    place = f"{kind.__module__.split('.')[0]}.{kind.__name__}"
    if place in _KAFKA_AWAY:
        return Unreachable(
            f"Kafka doesn't answer{f' at {brokers}' if brokers else ''}",
            "start the stack with `sluice up`, or set SLUICE_BROKERS to a running broker",
        )
    if place == "aiokafka.UnknownTopicOrPartitionError":
        return Unreachable("a topic is missing", "create the topics with `sluice topics apply`")
    if place == "schemas.RegistryUnreachable":
        return Unreachable(str(error), "start the stack with `sluice up`, or set SLUICE_REGISTRY_URL")
    if place in _HTTP_AWAY:
        return Unreachable(f"no answer over HTTP: {error}", "`sluice doctor` says which part is down")
    if place in _AS_THEY_ARE:
        return BadInput(str(error))
    if place in _STACK:
        return Failure(str(error), "`sluice doctor` checks what the parts need")
    return None


_KAFKA_AWAY = {
    "aiokafka.KafkaConnectionError",
    "aiokafka.NodeNotReadyError",
    "aiokafka.KafkaTimeoutError",
    "aiokafka.RequestTimedOutError",
    "aiokafka.NoBrokersAvailable",
    "aiokafka.GroupCoordinatorNotAvailableError",
}
_HTTP_AWAY = {"httpx.ConnectError", "httpx.ConnectTimeout", "httpx.ReadTimeout", "httpx.ReadError"}
_AS_THEY_ARE = {"schemas.Invalid"}
_STACK = {"streams.ProcessFailed", "streams.PackagesUnavailable"}
