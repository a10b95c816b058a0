"""Python source in the making, and the function that it defines."""

import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """The lines of one function."""

    def __init__(self, head: str) -> None:
        self._lines = [head]
        self._depth = 1

    def add(self, *lines: str) -> None:
        """Append lines at the present depth."""
        self._lines += ["    " * self._depth + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What is added inside belongs to `head`, such as an `if`."""
        self.add(head)
        self._depth += 1
        yield
        self._depth -= 1

    @property
    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def function(text: str, name: str, namespace: dict[str, Any]) -> Any:
    """The function `name` that `text` defines, with `namespace` as its globals; tracebacks show its lines."""
    file = f"<sluice {name}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    exec(compile(text, file, "exec"), namespace)
    return namespace[name]
