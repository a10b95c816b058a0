"""`sluice topics` and `sluice config`."""

from pathlib import Path

from schemas.config import Config
from streams.cli import output
from streams.cli.configuration import load, publish, required
from streams.cli.connect import Where, where
from streams.cli.failure import Refused, Unwanted
from streams.cli.provision import register_schemas
from streams.topics import Change, TopicsRefused, apply, diff, specs


async def _config(place: Where, file: Path | None) -> Config:
    return load(file, place) if file is not None else (await required(place.brokers))[1]


async def diff_topics(file: Path | None, as_json: bool) -> None:
    """`sluice topics diff`."""
    place = where()
    changes = await diff(place.brokers, specs(await _config(place, file)))
    _print(changes, as_json, "nothing to change: the topics are as they should be")
    if changes:
        raise Unwanted


async def apply_topics(file: Path | None, as_json: bool) -> None:
    """`sluice topics apply`."""
    place = where()
    try:
        changes = await apply(place.brokers, specs(await _config(place, file)))
    except TopicsRefused as error:
        raise Refused(str(error)) from error
    _print(changes, as_json, "the topics were as they should be")
    if place.registry_url is not None:
        count = await register_schemas(place.registry_url)
        if not as_json:
            output.say(f"{count} schemas are registered at {place.registry_url}")


def _print(changes: list[Change], as_json: bool, nothing: str) -> None:
    for change in changes:
        if as_json:
            now, wanted = change.partitions or (None, None)
            settings = {k: {"now": a, "wanted": b} for k, (a, b) in change.settings.items()}
            fields = {"partitions_now": now, "partitions": wanted, "settings": settings}
            output.emit({"topic": change.topic, "kind": change.kind, **fields})
        else:
            output.say(str(change))
    if not changes and not as_json:
        output.say(nothing)


async def apply_config(path: Path, as_json: bool) -> None:
    """`sluice config apply`: topics that it needs first, then the configuration."""
    place = where()
    config = load(path, place)
    missing = [c for c in await diff(place.brokers, specs(config)) if c.kind == "create"]
    if missing:
        named = ", ".join(c.topic for c in missing[:5])
        raise Refused(
            f"topics that it needs are missing: {named}", f"`sluice topics apply --config {path}`, then again"
        )
    version, changed = await publish(place, config)
    if as_json:
        output.emit({"version": version, "changed": changed})
    else:
        output.say(f"configuration {version} {'is now' if changed else 'was already'} active")


def check_config(path: Path, as_json: bool) -> None:
    """`sluice config check`."""
    config = load(path)
    version = config.content_hash()
    if as_json:
        names = {"models": sorted(config.models), "tenants": sorted(config.tenants)}
        output.emit({"version": version, **names, "providers": sorted(config.providers)})
        return
    counts = f"{len(config.models)} models, {len(config.tenants)} tenants, {len(config.routes)} routes"
    output.say(f"{path} is right: {counts} (version {version})")


async def show_config(as_json: bool) -> None:
    """`sluice config show`."""
    version, config = await required(where().brokers)
    if as_json:
        output.emit({"version": version, **config.model_dump(mode="json")})
        return
    import yaml

    print(f"# version {version}")
    print(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True), sort_keys=False), end="")
