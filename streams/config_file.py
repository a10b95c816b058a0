"""Reading the configuration from YAML, with errors that name file, line and field, all at once.

`${NAME}` in a string is replaced from a mapping that the caller gives (`$${` stands for a plain `${`). Fields
that hold secrets are references (`env:NAME`, `file:PATH`): neither replaced nor ever quoted in an error.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from processors.catalogue.complete import completed
from schemas.config import Config

Place = tuple[str | int, ...]

_VARIABLE: Final = re.compile(r"\$(\$?)\{([^}]*)\}")
_SECRET_FIELDS: Final = frozenset(
    {
        "api_key", "api_keys", "secret", "access_key_id", "secret_access_key", "session_token", "credentials",
        "client_secret",
    }
)  # fmt: skip
_SECRET_HEADER: Final = re.compile(r"auth|api[-_]?key|token|secret|cookie|password", re.I)
_MAX_NODES: Final = 100_000
_REFERENCE: Final = "give a reference (env:NAME or file:PATH), never the secret itself"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file: `line` from 1, `field` dotted ("" for the whole file)."""

    line: int
    field: str
    message: str


class ConfigFileError(ValueError):
    """A configuration that can't be used. Its text has one line for each fault."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        self.file = file
        self.faults = sorted(faults, key=lambda fault: fault.line)
        super().__init__("\n".join(_line(file, fault) for fault in self.faults))


def load_config(path: Path, variables: Mapping[str, str]) -> Config:
    """The configuration in the file at `path`. Raises ConfigFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigFileError(str(path), [Fault(1, "", f"can't be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigFileError(str(path), [Fault(1, "", "is not UTF-8 text")]) from error
    return parse_config(text, str(path), variables)


def parse_config(text: str, file: str, variables: Mapping[str, str]) -> Config:
    """The configuration in a YAML text, with what is published about its models where the text tells nothing.

    `file` names it in errors. Raises ConfigFileError.
    """
    reader = _Reader(variables)
    try:
        values = reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fault = Fault(mark.line + 1 if mark else 1, "", f"not valid YAML: {error.problem or error.context}")
        raise ConfigFileError(file, [fault]) from None
    except yaml.YAMLError as error:
        raise ConfigFileError(file, [Fault(1, "", f"not valid YAML: {type(error).__name__}")]) from None
    try:
        config = Config.model_validate(values, extra="forbid")
    except ValidationError as error:
        # The values are left out of what is raised: one of them may be a secret in the wrong place.
        found = list(_validation_faults(error, reader))
        raise ConfigFileError(file, reader.faults + found) from None
    if reader.faults:
        raise ConfigFileError(file, reader.faults)
    try:
        return completed(config)
    except ValueError as error:
        raise ConfigFileError(file, list(_reference_faults(str(error), reader))) from None


@dataclass
class _Reader:
    """Turns YAML nodes into plain values and remembers on which line each field stands."""

    variables: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)
    lines: dict[Place, int] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _seen: int = 0

    def read(self, text: str) -> Any:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            self.lines[()] = 1
            return {} if node is None else self._value(loader, node, ())
        finally:
            loader.dispose()

    def line(self, place: Place) -> int:
        """The line of a field, or of the nearest one around it that is there."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]

    def fault(self, place: Place, message: str, line: int | None = None) -> None:
        self.faults.append(Fault(line or self.line(place), dotted(place), message))

    def _value(self, loader: yaml.SafeLoader, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        self._seen += 1
        if self._seen > _MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_NODES} values", problem_mark=node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_object(node)
            return self._replaced(value, place) if isinstance(value, str) else value
        if id(node) in self._open:
            problem = "an alias refers to what it is part of"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return dict(self._pairs(loader, node, place))
            return [self._value(loader, item, (*place, i)) for i, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _pairs(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, place: Place
    ) -> Iterator[tuple[str, Any]]:
        own: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.fault(place, "a key is not a plain text", line)
            elif key.value in own and key.tag != "tag:yaml.org,2002:merge":
                self.fault((*place, key.value), f"is given twice: also on line {own[key.value]}", line)
            else:
                own[key.value] = line
        loader.flatten_mapping(node)
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                inner = (*place, key.value)
                self.lines[inner] = key.start_mark.line + 1
                yield key.value, self._value(loader, value, inner)

    def _replaced(self, text: str, place: Place) -> str:
        """`text` with its variables filled in."""
        if "headers" in place and _SECRET_HEADER.search(str(place[-1])):
            self.fault(place, f"a header that carries a secret: use the provider's api_key; {_REFERENCE}")
            return ""
        if _is_secret(place):
            return text

        def fill(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match[0][1:]
            if name not in self.variables:
                self.fault(place, f"${{{name}}} is not set: set the variable {name}, or write the value here")
            return self.variables.get(name, match[0])

        return _VARIABLE.sub(fill, text)


def _validation_faults(error: ValidationError, reader: _Reader) -> Iterator[Fault]:
    known = {fault.field for fault in reader.faults}
    for found in error.errors(include_url=False, include_input=False, include_context=False):
        place: Place = tuple(part for part in found["loc"] if part != "[key]")
        message = found["msg"].removeprefix("Value error, ")
        if not place and found["type"] == "value_error":
            yield from _reference_faults(message, reader)
        elif dotted(place) not in known:
            yield Fault(reader.line(place), dotted(place), _message(found["type"], message, place))


def _message(kind: str, message: str, place: Place) -> str:
    if kind == "missing":
        return "is missing: add it"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _known_fields(), 1)
        return f"is not a field{f': is {near[0]} meant?' if near else ': remove it'}"
    if kind == "model_type" and not place:
        return "the file must hold the fields of a configuration (providers, models, tenants, routes)"
    return _REFERENCE if kind.startswith("string") and _is_secret(place) else message


def _is_secret(place: Place) -> bool:
    """Whether a field holds the reference to a secret; an item of a list is of the list's field."""
    name = next((part for part in reversed(place) if isinstance(part, str)), None)
    return name in _SECRET_FIELDS


def _reference_faults(message: str, reader: _Reader) -> Iterator[Fault]:
    """Faults that the whole configuration reports as lines of `field: message`."""
    for line in message.splitlines():
        name, _, rest = line.partition(": ")
        place = next((place for place in reader.lines if rest and place and dotted(place, ".") == name), ())
        yield Fault(reader.line(place), dotted(place), rest if place else line)


def _known_fields() -> list[str]:
    """The names of all fields of all parts of the configuration."""
    names: list[str] = []
    todo: list[type[BaseModel]] = [Config]
    while todo:
        model = todo.pop()
        for name, info in model.model_fields.items():
            names.append(name)
            todo += [part for part in _models_in(info.annotation) if part is not model]
    return names


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def dotted(place: Place, index: str = "[]") -> str:
    """A place as people write it: models.fast.limits, routes[0].models; index="." gives routes.0.models."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) and index == "[]" else f".{part}"
    return text.removeprefix(".")


def _line(file: str, fault: Fault) -> str:
    return f"{file}:{fault.line}: " + (f"{fault.field}: " if fault.field else "") + fault.message
