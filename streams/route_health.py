"""What route knows of the models' state now: which of them an operator has paused."""

import asyncio

from schemas.codec import Codec
from streams import faust_adapter
from streams.config_watch import ConfigWatcher
from streams.services.call.control import ControlReader, ControlState


class Pauses:
    """A `Health` by the pauses on `llm.control`. A request goes on to a candidate that isn't paused, if it has one."""

    def __init__(self, state: ControlState) -> None:
        self._state = state

    def healthy(self, model: str) -> bool:
        """False for a model that is paused."""
        return not self._state.model_paused(model)


class PauseWatch:
    """Follows `llm.control` beside the stage, and gives its health."""

    def __init__(self, brokers: str, codec: Codec, configs: ConfigWatcher) -> None:
        state = ControlState(lambda name: configs.active()[1].resolve(name) or name)
        self.health = Pauses(state)
        self._reader = ControlReader(brokers, codec, state)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once the pauses in force are known. Raises LookupError where the topic isn't provisioned."""
        await self._reader.start()
        self._task = asyncio.create_task(self._reader.run(), name="pauses")
        self._task.add_done_callback(faust_adapter.crash_if_failed)

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
        await self._reader.stop()
