"""What must be there before workers run: topics, schemas, ClickHouse's tables, an active configuration."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import httpx

from schemas import names
from schemas.config import Config
from schemas.registry import IncompatibleSchema, Registry, RegistryUnreachable, SchemaStore
from sinks.migrate import Migrator
from streams.cli.clickhouse_admin import managing
from streams.cli.configuration import active, load, parse, publish
from streams.cli.connect import NO_MODEL_URL, Where
from streams.cli.failure import NotFound, Refused, Unreachable
from streams.cli.kafka import has_topic
from streams.local.part import source_root

Say = Callable[[str], None]
_DISTRIBUTION, _EXAMPLE = "sluice-llm", "sluice.yaml"


def example() -> Path:
    """The configuration that ships with Sluice: in its source, or among the files of what was installed."""
    if (path := source_root() / "config" / _EXAMPLE).is_file():
        return path
    for file in importlib.metadata.files(_DISTRIBUTION) or []:
        if file.name == _EXAMPLE and (path := Path(str(file.locate())).resolve()).is_file():
            return path
    raise NotFound("the example configuration isn't installed", "say which file with --config")


async def provision(place: Where, file: Path | None, say: Say, earlier_model_url: str | None = None) -> str:
    """Bring everything to what the configuration needs; the active version. Repeatable at any time.

    Without a `file` the active configuration stays, or the example becomes it.
    """
    config = await wanted(place, file, earlier_model_url)
    changes = await apply_topics(place, config)
    say(f"topics: {changes} changed" if changes else "topics: as they should be")
    if place.registry_url is not None:
        count = await register_schemas(place.registry_url)
        say(f"schemas: {count} subjects registered")
    await migrate_clickhouse(place)
    say("ClickHouse: tables are up to date")
    version, changed = await publish(place, config)
    say(f"configuration: {version} {'is now' if changed else 'stays'} active")
    return version


async def wanted(place: Where, file: Path | None, earlier_model_url: str | None) -> Config:
    """What is to be active: the file's, else the active one with the model server where it is now."""
    if file is not None:
        return load(file, place)
    found = await active(place.brokers) if await has_topic(place.brokers, names.CONFIG) else None
    if found is None:
        return load(example(), place, {"SLUICE_MODEL_URL": NO_MODEL_URL})
    config = found[1]
    if earlier_model_url and place.model_url and earlier_model_url != place.model_url:
        moved = config.to_json().decode().replace(earlier_model_url, place.model_url)
        return parse(moved.encode())
    return config


async def apply_topics(place: Where, config: Config) -> int:
    """Create and settle the topics; how many changed. Raises Refused for what would lose order."""
    from streams import topics

    try:
        return len(await topics.apply(place.brokers, topics.specs(config)))
    except topics.TopicsRefused as error:
        raise Refused(str(error)) from error


async def register_schemas(registry_url: str) -> int:
    """Register every subject; how many there are."""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        try:
            return len(await SchemaStore(Registry(registry_url, http)).register_all())
        except RegistryUnreachable as error:
            raise Unreachable(str(error), "`sluice up` starts the registry") from error
        except IncompatibleSchema as error:
            raise Refused(
                str(error), "this version's schemas break readers of the registered ones: upgrade"
            ) from error


async def migrate_clickhouse(place: Where) -> None:
    """Bring ClickHouse's tables to this version. Raises Failure."""
    async with managing(place, "ClickHouse's tables can't be brought to this version") as clickhouse:
        await Migrator(clickhouse).apply()
