"""`sluice providers test`: whether each configured deployment answers with each of its keys."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from processors.limits.backend import MemoryBackend
from processors.providers.pool import Target
from processors.providers.sessions import Sessions
from schemas.config import Config, Provider
from schemas.records import Usage
from streams.cli import output
from streams.cli.configuration import load, required
from streams.cli.connect import where
from streams.cli.failure import NotFound, Unwanted
from streams.cli.probe import Found, Probe, ask
from streams.services.call.targets import Targets

_AT_ONCE: Final = 8
_COLUMNS: Final = (
    "deployment",
    "key",
    "models",
    "answer",
    ">latency",
    ">first token",
    ">in",
    ">out",
    ">cost",
)
_FIXES: Final = {
    "spend_limit": "the account's credit or limit is used up: raise it at the vendor",
    "rate_limited": "the key's limit at the vendor is reached: wait, or set its key_limits lower",
    "overloaded": "the vendor is busy: try again later",
    "forbidden": "have the vendor give this key access to the model, or take the model out",
    "no_such_model": "correct vendor_model or base_url, or have the vendor give this account access to the model",
    "connection": "correct providers.{name}.base_url, or start the server there",
    "truncated": "something cuts its streams: look at what lies between here and providers.{name}.base_url",
    "provider_error": "try again; if it stays, compare kind, preset and base_url with the vendor's documentation",
    "content_filter": "the vendor's filter refuses a harmless prompt: look at the filter's settings there",
    "timeout_first_token": "give it more time: `--timeout SECONDS`",
    "timeout_idle": "give it more time: `--timeout SECONDS`",
    "timeout_total": "give it more time: `--timeout SECONDS`",
}
_OTHER_FIX: Final = "compare kind, preset, api_version and vendor_model with the vendor's documentation"


async def check_providers(name: str | None, file: Path | None, within_s: float, as_json: bool) -> None:
    """`sluice providers test`. Raises Unwanted where one doesn't answer, NotFound for an unknown name."""
    place = where()
    config = load(file, place) if file is not None else (await required(place.brokers))[1]
    async with Sessions.make() as sessions:
        probes = list(chosen(Targets(sessions, MemoryBackend()), config, name))
        turns = asyncio.Semaphore(_AT_ONCE)

        async def found(probe: Probe) -> Found:
            async with turns:
                return await ask(probe, config, within_s)

        findings = await asyncio.gather(*(found(probe) for probe in probes))
    _print(findings, config, as_json)
    if any(finding.error for finding in findings):
        raise Unwanted


def chosen(targets: Targets, config: Config, name: str | None) -> Iterator[Probe]:
    """Each deployment with each key, once, however many models are served there.

    `name`: only those of that provider, model (id or alias) or deployment. Raises NotFound where there are none.
    """
    wanted = config.resolve(name) if name is not None and name not in config.providers else None
    found: dict[tuple[str, str, str | None], tuple[Target, list[str]]] = {}
    for model in config.models:
        for target in targets.pool(config, model).targets:
            at = target.deployment
            if name is None or name in (at.provider, at.id) or model == wanted:
                key = (at.provider, at.vendor_model, target.key)
                found.setdefault(key, (target, []))[1].append(model)
    if not found:
        if name in config.providers:
            raise NotFound(
                f"no model is served by provider {name!r}", "give a model of models.* this provider"
            )
        raise NotFound(
            f"no provider, model or deployment {name!r} is configured", "`sluice config show` lists them"
        )
    for target, models in found.values():
        yield Probe(target, tuple(models))


def _print(findings: list[Found], config: Config, as_json: bool) -> None:
    if as_json:
        for finding in findings:
            output.emit(_fields(finding, config))
        return
    output.table(None, _COLUMNS, map(_row, findings))
    for finding in findings:
        if finding.error is not None:
            target = finding.probe.target
            key = f" with {target.key}" if target.key else ""
            output.say(f"✗ {target.deployment.id}{key}: {one_line(finding.error.message)}", output.BAD)
            output.say(f"  fix: {fix_of(finding, config)}", output.MEH)


def _row(finding: Found) -> tuple[object, ...]:
    target, usage = finding.probe.target, finding.usage
    about = "~" if usage is not None and usage.estimated else ""
    return (
        target.deployment.id,
        target.key,
        ", ".join(finding.probe.models),
        finding.error.error_class if finding.error else "ok",
        _ms(finding.latency_ms),
        _ms(finding.first_token_ms),
        _count(_input(usage) if usage else None, about),
        _count(usage.output if usage else None, about),
        f"{about}${finding.cost.normalize():f}" if finding.cost is not None else None,
    )


def _input(usage: Usage) -> int | None:
    if usage.input_uncached is None:
        return None
    return usage.input_uncached + (usage.cache_read or 0) + (usage.cache_write or 0)


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f} ms"


def _count(value: int | None, about: str) -> str | None:
    return None if value is None else f"{about}{value}"


def _fields(finding: Found, config: Config) -> dict[str, Any]:
    target, error = finding.probe.target, finding.error
    usage = msgspec.to_builtins(finding.usage) if finding.usage is not None else None
    return {
        "provider": target.deployment.provider,
        "deployment": target.deployment.id,
        "key": target.key,
        "models": list(finding.probe.models),
        "ok": error is None,
        "latency_ms": _rounded(finding.latency_ms),
        "first_token_ms": _rounded(finding.first_token_ms),
        "finish_reason": finding.finish_reason,
        "vendor_model": finding.vendor_model or target.deployment.vendor_model,
        "usage": usage and {name: usage[name] for name in usage if name != "raw"},
        "cost": finding.cost,
        "error_class": error and error.error_class,
        "error": error and one_line(error.message),
        "fix": fix_of(finding, config) if error else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def one_line(text: str) -> str:
    """A vendor's message without its line breaks."""
    return output.short(text, 300)


def fix_of(finding: Found, config: Config) -> str:
    """What to do about the error that was found."""
    error, target = finding.error, finding.probe.target
    assert error is not None, "only an error is mended"
    name = target.deployment.provider
    if error.error_class == "auth":
        return _auth_fix(name, config.providers[name], target.key)
    return _FIXES.get(error.error_class, _OTHER_FIX).format(name=name)


def _auth_fix(name: str, provider: Provider, key: str | None) -> str:
    if provider.auth_type != "key":
        return f"give the credentials of providers.{name}.auth, or grant them the right to call this model"
    secret = next((known.secret for known in provider.keys if known.name == key), None)
    if secret is None:
        return f"the server wants a key: set providers.{name}.api_key"
    return f"set {secret} to a key of this vendor that may use the model; workers read it where they run"
