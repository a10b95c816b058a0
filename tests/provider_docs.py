"""Writes docs/providers/ and docs/coverage.md from the adapters' own tables and what tests prove of them.

python -m tests.provider_docs
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from processors.providers.base import Feature
from processors.providers.failures import COMMON, ErrorKind, Errors
from tests.provider_kinds import KINDS, PROOFS, Kind, proofs
from tests.provider_prose import PROSE

DOCS: Final = Path(__file__).parents[1] / "docs"
_MARK: Final = "<!-- generated: python -m tests.provider_docs -->"
_FOLLOWS: Final = {
    "retry": "tried again, after the wait that it asks for",
    "busy": "the deployment waits, with jitter",
    "invalid": "the attempt ends; another model or deployment may serve where that helps",
    "auth_failed": "the key is benched for every model, another may serve",
    "forbidden": "the key is benched for this deployment alone, another may serve",
    "spend_limit": "the key is benched for every model, never tried again by itself",
    "content_filtered": "the request ends: no other model is asked",
    "context_exceeded": "a model with a larger window may serve",
}
_SUPPORT: Final = {"yes": "yes", "drop": "by policy", "no": "no"}
# The order of rows; what an adapter has beside them follows.
FEATURES: Final = (
    "text", "system", "image_bytes", "image_url", "document", "audio", "tools", "tool_choice", "parallel_tools",
    "tool_result_media", "tool_errors", "json", "json_schema", "reasoning", "reasoning_budget", "signatures",
    "thinking_back", "vendor_parts", "citations", "temperature", "top_p", "top_k", "seed", "stop", "penalties", "names",
    "cache_hints", "service_tier", "content_filter", "streaming", "usage", "embeddings", "rerank",
)  # fmt: skip


def documents() -> dict[str, str]:
    """Each document by its path below docs/."""
    pages = {f"providers/{name}.md": page(kind) for name, kind in KINDS.items()}
    return {**pages, "providers/README.md": index(), "coverage.md": coverage()}


def page(kind: Kind) -> str:
    """How a provider is configured, what it supports, what its errors mean, what is peculiar to it."""
    prose = PROSE[kind.name]
    lines = [
        _MARK,
        "",
        f"# {prose.title}",
        "",
        prose.about,
        "",
        "## Configure",
        "",
        "```yaml",
        prose.config.strip(),
    ]
    lines += ["```", "", prose.access, "", "## Features", ""]
    lines += [
        "`by policy`: the API can't express it; the model's `unsupported` decides (`reject`, the default: the attempt",
        "fails with a message that names it; `drop`: it falls, and the audit event tells). What proves a line is in",
        "[coverage.md](../coverage.md).",
        "",
        *_features(kind.features),
        "",
        "## Errors",
        "",
        *_errors(kind.errors),
        "",
    ]
    if prose.quirks:
        lines += ["## Peculiarities", "", *(f"- {quirk}" for quirk in prose.quirks), ""]
    return "\n".join(lines)


def _features(features: Mapping[str, Feature]) -> Iterator[str]:
    yield "| feature | supported | note |"
    yield "|---|---|---|"
    for name in ordered(features):
        yield f"| {name} | {_SUPPORT[features[name].support]} | {_cell(features[name].note)} |"


def ordered(features: Mapping[str, Feature]) -> list[str]:
    """The features in the order of the documents."""
    return [name for name in FEATURES if name in features] + [
        name for name in features if name not in FEATURES
    ]


def _errors(errors: Errors) -> Iterator[str]:
    yield "What the vendor's own codes mean; the first that fits holds. `in words`: told by its message."
    yield ""
    yield "| status | code or type | class | what follows |"
    yield "|---|---|---|---|"
    yield from _error_rows(errors)
    yield ""
    yield "Everything else is classed by its HTTP status, as for every provider:"
    yield ""
    yield "| status | code or type | class | what follows |"
    yield "|---|---|---|---|"
    yield from _error_rows({key: kind for key, kind in COMMON.items() if key not in errors})


def _error_rows(errors: Errors) -> Iterator[str]:
    for (status, code), kind in errors.items():
        yield f"| {status or 'any'} | {_code(code)} | `{kind.error_class}` | {_followed(kind)} |"


def _code(code: str | None) -> str:
    if code is None:
        return "any"
    if code.startswith("message:"):
        return f"in words: {code.removeprefix('message:').replace('_', ' ')}"
    return f"`{code}`"


def _followed(kind: ErrorKind) -> str:
    return _FOLLOWS[kind.follows] + ("; it may have been paid, so route decides" if kind.maybe_paid else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def index() -> str:
    """The list of pages."""
    lines = [_MARK, "", "# Providers", "", "| provider | `kind` | `preset` |", "|---|---|---|"]
    for name, kind in KINDS.items():
        preset = f"`{kind.provider['preset']}`" if "preset" in kind.provider else ""
        lines.append(f"| [{PROSE[name].title}]({name}.md) | `{kind.provider['kind']}` | {preset} |")
    lines += [
        "",
        "Any other server that speaks OpenAI's Chat Completions is a provider of `kind: openai` with its `base_url`",
        "and no preset. [adding.md](adding.md) says how to add a wire. `sluice providers test` asks each configured",
        "deployment with each key whether it answers. What is proven of each is in [coverage.md](../coverage.md).",
        "",
    ]
    return "\n".join(lines)


def coverage() -> str:
    """Provider by feature by how it is proven."""
    lines = [
        _MARK,
        "",
        "# What is proven of each provider",
        "",
        "Each cell says what the adapter claims (`yes`; `policy`: the API can't express it, so that the model's",
        "`unsupported` decides; `no`) and what proves it:",
        "",
        "- **R**equest: a test encodes a request that asks for the feature and compares the claim with what the",
        "  adapter does; where the vendor has an SDK with types, these have read the request.",
        "- **F**ixture: the decoder reads it in an answer written after the vendor's documentation, which the vendor's",
        "  own SDK types have read too, where there are any.",
        "- **S**imulator: a server by others that imitates the vendor's (PyPI `llmock`, npm `@copilotkit/aimock`).",
        "- **M**odel: a real model behind a real server that speaks the wire, through Kafka.",
        "",
        "No cell stands for a call to the vendor itself: `sluice providers test` makes one where you have a key.",
        "",
    ]
    names = list(KINDS)
    for part in (names[:9], names[9:]):
        lines += [*_matrix(part), ""]
    return "\n".join(lines)


def _matrix(names: list[str]) -> Iterator[str]:
    yield "| feature | " + " | ".join(f"[{name}](providers/{name}.md)" for name in names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    known = {feature: Feature("yes") for name in names for feature in KINDS[name].features}
    for feature in ordered(known):
        yield f"| {feature} | " + " | ".join(_proven(name, feature) for name in names) + " |"


def _proven(name: str, feature: str) -> str:
    claim = KINDS[name].features.get(feature)
    if claim is None:
        return ""
    told = {"yes": "yes", "drop": "policy", "no": "no"}[claim.support]
    letters = "".join(_LETTERS[proof] for proof in proofs(name)[feature])
    return f"{told} {letters}".rstrip() if claim.support != "no" else told


_LETTERS: Final = dict(zip(PROOFS, "RFSM", strict=True))


def main() -> None:
    for path, text in documents().items():
        file = DOCS / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(file.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
