"""The locked list of Java artifacts: which files, and the SHA-256 that each must have."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Artifact(NamedTuple):
    """A file of a Maven repository, `group:name:version[:extension:classifier]` in text."""

    group: str
    name: str
    version: str
    extension: str = "jar"
    classifier: str = ""

    @property
    def file_name(self) -> str:
        """Its name in a repository, and in our directories."""
        stem = f"{self.name}-{self.version}"
        return f"{stem}-{self.classifier}.{self.extension}" if self.classifier else f"{stem}.{self.extension}"

    def __str__(self) -> str:
        return ":".join(part for part in self if part)


def read_lock(path: Path) -> dict[Artifact, str]:
    """The artifacts of a lock file and their digests in hex. A line is `digest  artifact`."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {Artifact(*text.split(":")): digest for digest, text in lines}


def file_digests(locked: dict[Artifact, str]) -> dict[str, str]:
    """The same by file name."""
    return {artifact.file_name: digest for artifact, digest in locked.items()}


def format_lock(locked: Iterable[tuple[Artifact, str]]) -> str:
    """The text of a lock file, sorted, so that a change shows as the lines that changed."""
    return "".join(f"{digest}  {artifact}\n" for artifact, digest in sorted(locked))
