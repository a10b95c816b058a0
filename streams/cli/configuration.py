"""The configuration on `llm.config`: each version under its hash, and which one is active."""

from collections.abc import Mapping
from pathlib import Path

from schemas import names
from schemas.config import Config
from streams.cli.connect import Where, where
from streams.cli.failure import BadInput, NotFound, Refused
from streams.cli.kafka import Record, read, write
from streams.cli.lags import lag_of_topics

ACTIVE_KEY = b"active"


async def active(brokers: str) -> tuple[str, Config] | None:
    """The active version and its configuration, or None before the first `config apply`."""
    latest: dict[bytes, bytes] = {}
    async for record in read(brokers, names.CONFIG):
        latest[record.key] = record.value
    version = latest.get(ACTIVE_KEY)
    if version is None or version not in latest:
        return None
    return version.decode(), parse(latest[version])


def parse(content: bytes) -> Config:
    """The configuration in a record's JSON."""
    config: Config = Config.model_validate_json(content)
    return config


async def required(brokers: str) -> tuple[str, Config]:
    """The active configuration. Raises NotFound before the first `config apply`."""
    found = await active(brokers)
    if found is None:
        raise NotFound("no configuration is active", "publish one: `sluice config apply FILE`")
    return found


async def publish(place: Where, config: Config) -> tuple[str, bool]:
    """Make `config` the active one; its version, and whether that is a change.

    Raises Refused where it lacks a model that still has calls waiting.
    """
    version = config.content_hash()
    before = await active(place.brokers)
    if before is not None and before[0] == version:
        return version, False
    if before is not None:
        await _refuse_removal(place, before[1], config)
    records = [
        Record(names.CONFIG, config.to_json(), version.encode()),
        Record(names.CONFIG, version.encode(), ACTIVE_KEY),
    ]
    await write(place.brokers, records, f"{place.app_id}-config")
    return version, True


async def _refuse_removal(place: Where, before: Config, after: Config) -> None:
    """A model can't go while calls of it wait: nobody would take them up."""
    for model in before.models.keys() - after.models.keys():
        topics = [names.calls_topic(model, lane) for lane in before.models[model].lanes]
        waiting = await lag_of_topics(place.brokers, f"{place.app_id}-call-{model}", topics)
        if waiting:
            raise Refused(
                f"model {model} can't be removed: {waiting} calls of it are open",
                f"`sluice pause {model}`, wait until `sluice status` shows no lag for it, then apply again",
            )


def load(path: Path, place: Where | None = None, defaults: Mapping[str, str] | None = None) -> Config:
    """A configuration file. Raises BadInput with file, line and field of each fault.

    `${NAME}` in it is replaced from the environment and from the addresses of the parts, else from `defaults`.
    """
    from streams.config_file import ConfigFileError, load_config
    from streams.settings import child_environment

    try:
        known = child_environment(**(place or where()).variables())
        return load_config(path, {**(defaults or {}), **known})
    except ConfigFileError as error:
        raise BadInput(str(error)) from error
