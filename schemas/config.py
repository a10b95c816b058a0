"""The configuration as validated models. It is the contract between the YAML file, `llm.config` and every stage.

Secrets are references (`env:NAME` or `file:PATH`), never values; a worker resolves them where it calls.
"""

import hashlib
from decimal import Decimal
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.names import LANES, TOPICS_PREFIX, Lane, OnUnknown

ConfigId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]
SecretRef = Annotated[str, StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]


class _Model(BaseModel):
    # A worker of an older version reads a newer one's configuration: what it doesn't know it passes over. The YAML
    # loader forbids unknown fields, so that a typing error never passes.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Limits(_Model):
    """Limits of what a request may carry, bytes and counts."""

    max_prompt_bytes: int = Field(1 << 20, ge=1, le=4 << 20)
    # A result carries its text twice (`text` and `output`) and must fit a record of 6 MiB.
    max_result_bytes: int = Field(2 << 20, ge=1, le=2 << 20)
    max_metadata_entries: int = Field(16, ge=0, le=64)
    max_tags: int = Field(32, ge=0, le=128)
    max_deadline_s: int = Field(6 * 3600, ge=1)


class Defaults(_Model):
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


class Provider(_Model):
    """A provider: how to reach it. `kind` names the adapter."""

    kind: Literal["openai", "dummy"]
    base_url: str | None = None
    api_key: SecretRef | None = None
    headers: dict[str, str] = {}
    connect_timeout_s: float = Field(5, gt=0)
    dummy: "DummyBehaviour | None" = None

    @model_validator(mode="after")
    def _needs_base_url(self) -> "Provider":
        if self.kind != "dummy" and not self.base_url:
            raise ValueError(f"a provider of kind {self.kind!r} needs base_url")
        return self


class DummyBehaviour(_Model):
    """What the dummy provider does: answers deterministically after a latency, with faults by share (0 to 1)."""

    latency_ms: float = Field(20, ge=0)
    chunks: int = Field(20, ge=1)
    fail_share: float = Field(0, ge=0, le=1)
    rate_limit_share: float = Field(0, ge=0, le=1)
    truncate_share: float = Field(0, ge=0, le=1)


class Price(_Model):
    """US dollars per million tokens."""

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    cache_read: Decimal | None = Field(None, ge=0)
    cache_write: Decimal | None = Field(None, ge=0)


class RateLimits(_Model):
    """Limits of a model: requests and tokens a minute, calls at once."""

    rpm: int | None = Field(None, ge=1)
    tpm: int | None = Field(None, ge=1)
    concurrency: int = Field(32, ge=1)


class Timeouts(_Model):
    """Seconds: until the first token, between chunks, for the whole call."""

    first_token_s: float = Field(60, gt=0)
    idle_s: float = Field(30, gt=0)
    total_s: float = Field(300, gt=0)


class Model(_Model):
    """A model that requests may be routed to."""

    provider: ConfigId
    vendor_model: str
    aliases: list[str] = []
    lanes: list[Lane] = list(LANES)
    limits: RateLimits = RateLimits()  # type: ignore[call-arg]
    timeouts: Timeouts = Timeouts()  # type: ignore[call-arg]
    price: Price | None = None
    context_window: int = Field(128_000, ge=1)
    max_output_tokens: int | None = Field(None, ge=1)
    on_unknown: OnUnknown | None = None
    call_retries: int = Field(4, ge=0, description="retries inside call, where nothing can have been paid")


class Tenant(_Model):
    """A tenant: who pays and what it may use."""

    default_lane: Lane | None = None
    models: list[str] | None = Field(None, description="models allowed; every one where left out")
    reply_topics: list[str] = []
    on_unknown: OnUnknown | None = None


class Route(_Model):
    """A routing rule: the first whose conditions hold gives the candidates, best first."""

    task_type: str | None = None
    tenant: str | None = None
    lane: Lane | None = None
    models: list[str] = Field(min_length=1)


class Topics(_Model):
    """`partitions`: of every topic but those of calls, control and configuration. Fixed once they are used."""

    partitions: int = Field(default=12, ge=1, le=240)


class Config(_Model):
    """The whole configuration."""

    version: Literal[1] = 1
    defaults: Defaults = Defaults()  # type: ignore[call-arg]
    limits: Limits = Limits()  # type: ignore[call-arg]
    topics: Topics = Topics()
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
            if model.provider not in self.providers:
                faults.append(f"models.{name}.provider: no provider {model.provider!r} is configured")
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
