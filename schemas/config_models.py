"""Models in the configuration: where they are deployed, what they can, what they cost, how much they may be used."""

import datetime
from typing import Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.config_base import PART, ConfigId
from schemas.config_prices import Price, in_order
from schemas.names import LANES, Lane, OnUnknown

Modality = Literal["text", "image", "document", "audio"]


class _Part(BaseModel):
    model_config = PART


class RateLimits(_Part):
    """Limits of a model: requests and tokens a minute, calls at once."""

    rpm: int | None = Field(None, ge=1)
    tpm: int | None = Field(None, ge=1)
    concurrency: int = Field(32, ge=1)


class Timeouts(_Part):
    """Seconds: until the first token, between chunks, for the whole call."""

    first_token_s: float = Field(60, gt=0)
    idle_s: float = Field(30, gt=0)
    total_s: float = Field(300, gt=0)


class Capabilities(_Part):
    """What a model can; null = not told, so that nothing is refused for it."""

    modalities: list[Modality] | None = Field(None, description="what a request may contain")
    tools: bool | None = None
    parallel_tools: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None


class Deployment(_Part):
    """One of the places where a model is served. `weight`: its share of the calls among those that are healthy; 0
    serves only while no other does. `prices` of this place go before the model's.
    """

    provider: ConfigId
    vendor_model: str = Field(min_length=1)
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9._/:-]{1,128}$")
    weight: int = Field(1, ge=0, le=1000)
    prices: list[Price] = []

    _prices_in_order = field_validator("prices")(in_order)

    @property
    def id(self) -> str:
        """Its name in outcomes, the attempt journal and metrics."""
        return self.name or f"{self.provider}/{self.vendor_model}"


class Model(_Part):
    """A model that requests may be routed to: at one provider (`provider`, `vendor_model`), or at several places.

    `unsupported`: what becomes of a request parameter that the provider can't express. `reject` fails the attempt
    with a message that names it (route then tries the next candidate); `drop` lets it fall and the audit event tells.
    `prices` in place of `price`: each from a day on, the oldest first.
    """

    deployments: list[Deployment] = []
    provider: str = Field(default="", validate_default=True)
    vendor_model: str = Field(default="", validate_default=True)
    aliases: list[str] = []
    lanes: list[Lane] = list(LANES)
    limits: RateLimits = RateLimits()  # type: ignore[call-arg]
    timeouts: Timeouts = Timeouts()  # type: ignore[call-arg]
    price: Price | None = None
    prices: list[Price] = []
    context_window: int = Field(128_000, ge=1)
    max_output_tokens: int | None = Field(None, ge=1)
    tokenizer: str | None = Field(None, min_length=1, description="path of its tokenizer.json, on call's workers")
    capabilities: Capabilities = Capabilities()  # type: ignore[call-arg]
    unsupported: Literal["drop", "reject"] = "reject"
    retires_at: datetime.date | None = Field(None, description="the vendor serves it until this day")
    on_unknown: OnUnknown | None = None
    call_retries: int = Field(4, ge=0, description="retries inside call, where nothing can have been paid")

    @field_validator("deployments")
    @classmethod
    def _names_differ(cls, value: list[Deployment]) -> list[Deployment]:
        ids = [place.id for place in value]
        if len(set(ids)) != len(ids):
            raise ValueError("two have the same name: give each a `name`")
        return value

    _prices_in_order = field_validator("prices")(in_order)

    @field_validator("prices")
    @classmethod
    def _one_price_or_several(cls, value: list[Price], info: ValidationInfo) -> list[Price]:
        if value and info.data.get("price") is not None:
            raise ValueError("give price or prices, not both")
        return value

    @field_validator("provider", "vendor_model")
    @classmethod
    def _at_one_place_or_several(cls, value: str, info: ValidationInfo) -> str:
        several = info.data.get("deployments")
        if value and several:
            raise ValueError("give it, or deployments, not both")
        if not value and several == []:
            raise PydanticCustomError("missing", "is missing: give it, or deployments")
        return value

    @property
    def places(self) -> list[Deployment]:
        """Every deployment; a model of the short form has one."""
        if self.deployments:
            return self.deployments
        return [
            Deployment.model_construct(
                provider=self.provider, vendor_model=self.vendor_model, weight=1, name=None, prices=[]
            )
        ]

    def prices_at(self, place: Deployment) -> list[Price]:
        """The prices of a call at that deployment, the oldest first; empty where it has none."""
        return place.prices or self.prices or ([self.price] if self.price is not None else [])

    def at(self, place: Deployment) -> "Model":
        """The model as adapters take it: at that deployment alone."""
        told = {"provider": place.provider, "vendor_model": place.vendor_model, "deployments": []}
        return self.model_copy(update=told)
