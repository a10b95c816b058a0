"""The schema registry: Apicurio with Confluent's API, its schemas in an H2 database file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from streams.local.packages import REGISTRY_VERSION, Packages
from streams.local.part import HOST, Part, answers, base_url
from streams.local.state import PartName

_FLAGS = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")


@dataclass(kw_only=True)
class Registry(Part):
    """A registry for one machine. Schema ids stay the same over restarts and crashes."""

    packages: Packages

    name: ClassVar[PartName] = "registry"
    title: ClassVar[str] = "schema registry"

    def url(self) -> str:
        """The root of the Confluent-compatible API."""
        return f"{base_url(self.ports['http'])}/apis/ccompat/v7"

    def command(self) -> Sequence[str]:
        # The distribution keeps schemas in an H2 database in memory; a file URL makes the same tables last.
        # WRITE_DELAY=0 writes each registration before it is answered: an id once given out is never lost.
        database = f"jdbc:h2:file:{self.data.resolve()}/schemas;DB_CLOSE_ON_EXIT=FALSE;WRITE_DELAY=0"
        settings = {
            "REGISTRY_DATASOURCE_URL": database,
            "quarkus.http.host": HOST,
            "quarkus.http.port": self.ports["http"],
            "%prod.quarkus.datasource.jdbc.min-size": 2,  # 20 connections would be opened at start
            "%prod.quarkus.datasource.jdbc.initial-size": 2,
            "LOG_LEVEL": "WARN",
        }
        jar = self.packages.registry() / f"apicurio-registry-app-{REGISTRY_VERSION}-runner.jar"
        properties = (f"-D{k}={v}" for k, v in settings.items())
        return [str(self.packages.java), *_FLAGS, *properties, "-jar", str(jar)]

    def ready(self) -> bool:
        return answers(f"{self.url()}/subjects")
