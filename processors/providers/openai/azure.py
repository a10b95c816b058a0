"""Azure OpenAI: OpenAI's Chat Completions under deployments, with content filters.

Two forms of address. With a dated `api_version` (2024-10-21) a deployment has a URL of its own; without one, or with
`v1` or `preview`, the model of the body names it. The provider's base_url is the resource,
https://NAME.openai.azure.com; a path that ends in /openai or /openai/v1 is understood too.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from processors.providers.base import Feature
from processors.providers.failures import (
    AUTH,
    CONTENT_FILTER,
    NO_SUCH_MODEL,
    RATE_LIMITED,
    Errors,
)
from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.openai.errors import ERRORS as OPENAI_ERRORS
from processors.providers.openai.presets import OPENAI, Dialect, features_of
from schemas.config import Model, Provider

__all__ = ["ERRORS", "FEATURES", "AzureAdapter", "azure_path"]

ERRORS: Final[Errors] = {
    **OPENAI_ERRORS,
    (None, "ResponsibleAIPolicyViolation"): CONTENT_FILTER,
    (None, "DeploymentNotFound"): NO_SUCH_MODEL,
    (None, "OperationNotSupported"): NO_SUCH_MODEL,
    (None, "PermissionDenied"): AUTH,
    (None, "too_many_requests"): RATE_LIMITED,
}
# From here on the API knows max_completion_tokens and stream_options.
_FIRST_WITH_LIMIT: Final = "2024-09"
_DIALECT: Final = replace(OPENAI, name="azure", errors=ERRORS)
_OLDER: Final = replace(_DIALECT, limit="max_tokens", usage_option=False)

FEATURES: Final[Mapping[str, Feature]] = {
    **features_of(_DIALECT),
    "usage": Feature("yes", "estimated with an api_version before 2024-09"),
    "content_filter": Feature("yes", "what it acted on is told, in the error or as a part `vendor:azure`"),
}


def _dated(provider: Provider) -> str | None:
    version = provider.api_version
    return None if version in (None, "v1", "preview", "latest") else version


def azure_path(provider: Provider, deployment: str, operation: str) -> str:
    """The path of an operation (`/chat/completions`) below the provider's base URL."""
    base, version = provider.url(), provider.api_version
    dated = _dated(provider)
    if dated is not None:
        root = "" if base.endswith("/openai") else "/openai"
        return f"{root}/deployments/{quote(deployment, safe='')}{operation}?api-version={quote(dated)}"
    root = "" if base.endswith("/openai/v1") else "/v1" if base.endswith("/openai") else "/openai/v1"
    return f"{root}{operation}" + ("" if version in (None, "v1") else f"?api-version={version}")


def dialect_of_version(provider: Provider) -> Dialect:
    """What the API of the provider's version understands."""
    dated = _dated(provider)
    return _OLDER if dated is not None and dated < _FIRST_WITH_LIMIT else _DIALECT


class AzureAdapter(OpenAiAdapter):
    """The adapter of `kind: azure`; a model's `vendor_model` is its deployment."""

    def __init__(self, provider: Provider) -> None:
        self._provider, self.dialect = provider, dialect_of_version(provider)

    def path(self, model: Model, operation: str) -> str:
        return azure_path(self._provider, model.vendor_model, operation)
