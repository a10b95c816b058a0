"""The configuration as validated models. It is the contract between the YAML file, `llm.config` and every stage.

Secrets are references (`env:NAME` or `file:PATH`), never values; a worker resolves them where it calls.
"""

import hashlib
from typing import Literal

import orjson
from pydantic import BaseModel, Field, model_validator

from schemas.config_base import PART, ConfigId, SecretRef
from schemas.config_models import Capabilities, Deployment, Model, RateLimits, Timeouts
from schemas.config_prices import Price
from schemas.config_providers import ApiKey, Auth, DummyBehaviour, KeyLimits, Preset, Provider, ProviderKind
from schemas.config_retention import Retention
from schemas.names import TOPICS_PREFIX, Lane, OnUnknown

__all__ = [
    "ApiKey", "Auth", "Capabilities", "Config", "ConfigId", "Content", "Defaults", "Deployment", "DummyBehaviour",
    "KeyLimits", "Limits", "Model", "Preset", "Price", "Provider", "ProviderKind", "RateLimits", "Retention", "Route",
    "SecretRef", "Tenant", "Timeouts", "Topics",
]  # fmt: skip


class _Part(BaseModel):
    model_config = PART


class Limits(_Part):
    """Limits of what a request may carry, bytes and counts."""

    max_prompt_bytes: int = Field(1 << 20, ge=1, le=4 << 20)
    # A result carries its text twice (`text` and `output`) and must fit a record of 6 MiB.
    max_result_bytes: int = Field(2 << 20, ge=1, le=2 << 20)
    max_metadata_entries: int = Field(16, ge=0, le=64)
    max_tags: int = Field(32, ge=0, le=128)
    max_deadline_s: int = Field(6 * 3600, ge=1)


class Defaults(_Part):
    """What holds where a request, tenant or model says nothing."""

    lane: Lane = "standard"
    deadline_s: float = Field(300, gt=0)
    grace_s: float = Field(30, ge=1)
    max_output_tokens: int = Field(1024, ge=1)
    max_attempts: int = Field(3, ge=1, le=20)
    on_unknown: OnUnknown = "retry"
    dedupe_hours: int = Field(24, ge=1, le=168)
    # As many as a partition loads within the 5 s of its opening, at 2.0 to 2.4 microseconds an entry.
    dedupe_max_entries: int = Field(1_500_000, ge=1000, description="a partition of llm.tenant-events")


class Tenant(_Part):
    """A tenant: who pays and what it may use."""

    default_lane: Lane | None = None
    models: list[str] | None = Field(None, description="models allowed; every one where left out")
    reply_topics: list[str] = []
    on_unknown: OnUnknown | None = None


class Route(_Part):
    """A routing rule: the first whose conditions hold gives the candidates, best first."""

    task_type: str | None = None
    tenant: str | None = None
    lane: Lane | None = None
    models: list[str] = Field(min_length=1)


class Topics(_Part):
    """`partitions`: of every topic but those of calls, control and configuration. Fixed once they are used."""

    partitions: int = Field(default=12, ge=1, le=240)


class Content(_Part):
    """Content by reference: what call may fetch for a request. Nothing is fetched from a host that isn't listed.

    Hosts are names (`files.example.com`), every name below one (`*.example.com`) or addresses, with a port where it
    isn't the scheme's own. `private_hosts` may lie at private addresses and be reached without TLS.
    """

    allowed_hosts: list[str] = []
    private_hosts: list[str] = []
    max_bytes: int = Field(20 << 20, ge=1, le=256 << 20)
    timeout_s: float = Field(30, gt=0)


class Config(_Part):
    """The whole configuration."""

    version: Literal[1] = 1
    defaults: Defaults = Defaults()  # type: ignore[call-arg]
    limits: Limits = Limits()  # type: ignore[call-arg]
    topics: Topics = Topics()
    retention: Retention = Retention()  # type: ignore[call-arg]
    content: Content = Content()  # type: ignore[call-arg]
    providers: dict[ConfigId, Provider]
    models: dict[ConfigId, Model]
    tenants: dict[str, Tenant]
    routes: list[Route] = Field(min_length=1)

    @model_validator(mode="after")
    def _references_hold(self) -> "Config":
        """Every fault is a line of the error: a field, a colon, what is wrong."""
        faults: list[str] = []
        aliases: dict[str, str] = {}
        for name, model in self.models.items():
            for i, at in enumerate(model.places):
                if at.provider not in self.providers:
                    field = f"deployments.{i}.provider" if model.deployments else "provider"
                    faults.append(f"models.{name}.{field}: no provider {at.provider!r} is configured")
            for alias in model.aliases:
                if alias in self.models or alias in aliases:
                    faults.append(f"models.{name}.aliases: {alias!r} is taken already")
                aliases[alias] = name
        for place, names in self._model_references():
            for wanted in names:
                if wanted not in self.models and wanted not in aliases:
                    faults.append(f"{place}: no model or alias {wanted!r} is configured")
        for name, tenant in self.tenants.items():
            for topic in tenant.reply_topics:
                if topic.startswith(TOPICS_PREFIX):
                    faults.append(
                        f"tenants.{name}.reply_topics: {topic!r} begins with {TOPICS_PREFIX!r}, which is Sluice's own"
                    )
        if self.defaults.deadline_s > self.limits.max_deadline_s:
            faults.append("defaults.deadline_s: it must not exceed limits.max_deadline_s")
        longest = self.limits.max_deadline_s + self.defaults.grace_s
        if longest > self.defaults.dedupe_hours * 3600:
            faults.append(
                "limits.max_deadline_s: with defaults.grace_s it must not exceed defaults.dedupe_hours"
            )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _model_references(self) -> list[tuple[str, list[str]]]:
        places = [(f"routes.{i}.models", rule.models) for i, rule in enumerate(self.routes)]
        return places + [(f"tenants.{n}.models", t.models or []) for n, t in self.tenants.items()]

    def resolve(self, name: str) -> str | None:
        """The model id that `name` (an id or an alias) stands for, or None."""
        if name in self.models:
            return name
        return next((m for m, model in self.models.items() if name in model.aliases), None)

    def to_json(self) -> bytes:
        """Canonical JSON: equal configurations give equal bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    def content_hash(self) -> str:
        """The version: 16 hex digits of SHA-256 over the canonical JSON."""
        return hashlib.sha256(self.to_json()).hexdigest()[:16]
