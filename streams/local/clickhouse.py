"""Embedded ClickHouse: one process that owns the data directory and speaks ClickHouse's HTTP protocol."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streams.local.part import Part, answers, base_url, source_root
from streams.local.state import PartName


@dataclass(kw_only=True)
class ClickHouse(Part):
    """ClickHouse for one machine, on loopback."""

    name: ClassVar[PartName] = "clickhouse"
    title: ClassVar[str] = "ClickHouse"

    def url(self) -> str:
        return base_url(self.ports["http"])

    def command(self) -> Sequence[str]:
        place = ["--path", str(self.data.resolve()), "--port", str(self.ports["http"])]
        return [sys.executable, "-m", "streams.local.clickhouse_server", *place]

    def cwd(self) -> Path:
        return source_root()

    def ready(self) -> bool:
        return answers(f"{self.url()}/ping", expect=b"Ok.")
