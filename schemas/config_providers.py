"""Providers in the configuration: which wire they speak, where they are, and how a call is authorised."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from schemas.config_base import PART, SecretRef

ProviderKind = Literal[
    "openai", "openai-responses", "azure", "anthropic", "gemini", "vertex", "bedrock", "mistral", "cohere", "dummy"
]  # fmt: skip
Preset = Literal["vllm", "llama-cpp", "ollama", "groq", "deepseek", "together", "xai", "openrouter"]
AuthType = Literal["key", "aws", "google", "entra", "none"]
KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]

_BASE_URLS: Final[dict[str, str]] = {
    "openai": "https://api.openai.com/v1",
    "openai-responses": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "bedrock": "https://bedrock-runtime.{region}.amazonaws.com",
    "mistral": "https://api.mistral.ai/v1",
    "cohere": "https://api.cohere.com/v2",
}
_VERTEX_PATH: Final = "/v1/projects/{project}/locations/{location}"
_AUTH: Final[dict[str, AuthType]] = {"vertex": "google", "bedrock": "aws", "azure": "entra", "dummy": "none"}
# They run where their owner says.
_NO_USUAL_PLACE: Final = frozenset({"vllm", "llama-cpp"})
_AUTH_FIELDS: Final[dict[str, frozenset[str]]] = {
    "key": frozenset({"header"}),
    "aws": frozenset({"profile", "access_key_id", "secret_access_key", "session_token"}),
    "google": frozenset({"credentials", "scope"}),
    "entra": frozenset({"tenant_id", "client_id", "client_secret", "scope"}),
    "none": frozenset(),
}


class _Part(BaseModel):
    model_config = PART


class KeyLimits(_Part):
    """Limits of one key: requests and tokens a minute, calls at once; those left out don't hold."""

    rpm: int | None = Field(None, ge=1)
    tpm: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)


class ApiKey(_Part):
    """A key of a provider's pool; `name` stands for it in logs, the attempt journal and metrics."""

    secret: SecretRef
    name: KeyName | None = None
    limits: KeyLimits | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"secret": value} if isinstance(value, str) else value


class Auth(_Part):
    """How a call is authorised. `key`: the provider's api_key; the others are credentials of a cloud, found where
    its own tools find them (environment, profile, metadata server) unless they are given here.
    """

    type: AuthType
    header: str | None = Field(None, description="key: the header that carries it, where not the kind's own")
    profile: str | None = Field(None, description="aws: a profile of the shared configuration")
    access_key_id: SecretRef | None = None
    secret_access_key: SecretRef | None = None
    session_token: SecretRef | None = None
    credentials: SecretRef | None = Field(None, description="google: the JSON of a service account's key")
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: SecretRef | None = None
    scope: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fields_of_the_type(self) -> "Auth":
        given = {
            name for name in type(self).model_fields if name != "type" and getattr(self, name) is not None
        }
        strange = sorted(given - _AUTH_FIELDS[self.type])
        if strange:
            raise ValueError(f"{', '.join(strange)}: not used where auth.type is {self.type!r}")
        for group in (("access_key_id", "secret_access_key"), ("tenant_id", "client_id", "client_secret")):
            if given & set(group) and not given >= set(group):
                raise ValueError(f"{', '.join(group)} belong together: give all of them or none")
        return self


class DummyBehaviour(_Part):
    """What the dummy provider does: answers deterministically after a latency, with faults by share (0 to 1)."""

    latency_ms: float = Field(20, ge=0)
    chunks: int = Field(20, ge=1)
    fail_share: float = Field(0, ge=0, le=1)
    rate_limit_share: float = Field(0, ge=0, le=1)
    truncate_share: float = Field(0, ge=0, le=1)


class Provider(_Part):
    """A provider: how to reach it. `kind` names the adapter.

    `base_url` where left out is the vendor's own (of the preset, where there is one). `content_urls`: `fetch`
    downloads what a part's `uri` names and sends the bytes; `pass` gives the URI to the vendor, except where the
    part has a `sha256`, which only we compare.
    """

    kind: ProviderKind
    preset: Preset | None = Field(None, description="kind openai: a compatible server whose ways are known")
    base_url: str | None = None
    api_key: SecretRef | None = None
    api_keys: list[ApiKey] = []
    key_limits: KeyLimits | None = Field(None, description="of each key that has none of its own")
    auth: Auth | None = None
    headers: dict[str, str] = {}
    region: str | None = Field(None, description="bedrock")
    project: str | None = Field(None, description="vertex")
    location: str | None = Field(None, description="vertex")
    api_version: str | None = Field(None, description="azure: the api-version of the request")
    connect_timeout_s: float = Field(5, gt=0)
    content_urls: Literal["fetch", "pass"] = "fetch"
    prices_of: str | None = Field(None, description="whose published prices hold here, where the address doesn't tell")
    dummy: DummyBehaviour | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> "Provider":
        if self.preset is not None and self.kind != "openai":
            raise ValueError("preset: only a provider of kind 'openai' has one")
        if self.base_url is None:
            self._check_usual_place()
        elif "@" in (place := self.base_url.partition("://")[2]).partition("/")[0] or "?" in place:
            raise ValueError("base_url must hold no user, password or query: secrets go into api_key")
        if self.auth_type == "aws" and self.region is None:
            raise ValueError("requests to AWS are signed for a region: give region")
        if self.api_key is not None and self.api_keys:
            raise ValueError("give api_key or api_keys, not both")
        names = [key.name for key in self.keys]
        if len(set(names)) != len(names):
            raise ValueError("api_keys: two keys have the same name")
        return self

    def _check_usual_place(self) -> None:
        if self.kind == "azure" or self.preset in _NO_USUAL_PLACE:
            raise ValueError(f"a provider of kind {self.preset or self.kind!r} needs base_url")
        for kind, names in (("vertex", ("project", "location")), ("bedrock", ("region",))):
            missing = [name for name in names if getattr(self, name) is None]
            if self.kind == kind and missing:
                raise ValueError(f"a provider of kind {kind!r} needs {' and '.join(missing)}")
        if self.kind in _BASE_URLS and self.preset is None and self.auth_type == "key" and not self.keys:
            raise ValueError(
                "needs api_key (or api_keys): the vendor serves nobody without; or give base_url"
            )

    @property
    def auth_type(self) -> AuthType:
        """How calls are authorised: as told, else by key where there is one, else as the kind's vendor usually does."""
        if self.auth is not None:
            return self.auth.type
        return "key" if self.api_key or self.api_keys else _AUTH.get(self.kind, "key")

    @property
    def keys(self) -> list[ApiKey]:
        """The pool, each key with a name and the limits that hold for it; empty where calls need none."""
        told = [ApiKey(secret=self.api_key)] if self.api_key else self.api_keys
        return [
            ApiKey(secret=key.secret, name=key.name or f"key-{n}", limits=key.limits or self.key_limits)
            for n, key in enumerate(told, 1)
        ]

    def url(self, preset_url: str | None = None) -> str:
        """The base URL, without a slash at its end; `preset_url` is the preset's own."""
        url = self.base_url or preset_url
        if url is None and self.kind == "vertex":
            host = "aiplatform" if self.location == "global" else f"{self.location}-aiplatform"
            url = f"https://{host}.googleapis.com" + _VERTEX_PATH
        url = url if url is not None else _BASE_URLS[self.kind]
        for name in ("project", "location", "region"):
            url = url.replace("{" + name + "}", getattr(self, name) or "")
        return url.rstrip("/")
