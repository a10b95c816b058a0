"""The small real model, served with OpenAI's protocol by a process of its own."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streams.local.part import Part, answers, base_url, source_root
from streams.local.state import PartName


@dataclass(kw_only=True)
class ModelServer(Part):
    """SmolLM2-135M on the CPU: weak answers, real tokens."""

    name: ClassVar[PartName] = "model"
    title: ClassVar[str] = "model server"

    def url(self) -> str:
        """The base URL of the OpenAI protocol."""
        return f"{base_url(self.ports['http'])}/v1"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "streams.local.model_server_main", "--port", str(self.ports["http"])]

    def cwd(self) -> Path:
        return source_root()

    def ready(self) -> bool:
        return answers(f"{base_url(self.ports['http'])}/health")
