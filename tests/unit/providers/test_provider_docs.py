"""The providers' documents are up to date, and their examples are configurations."""

import re

import pytest
import yaml

from processors.providers.adapters import adapter_of, base_url_of
from schemas.config import Config
from tests.provider_docs import DOCS, documents
from tests.provider_kinds import KINDS
from tests.provider_prose import PROSE

DOCUMENTS = documents()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_document_is_up_to_date(path: str) -> None:
    file = DOCS / path
    assert file.exists() and file.read_text() == DOCUMENTS[path], "python -m tests.provider_docs"


def test_there_is_no_page_of_what_is_gone() -> None:
    pages = {f"providers/{file.name}" for file in (DOCS / "providers").glob("*.md")}
    assert pages == {path for path in DOCUMENTS if path.startswith("providers/")} | {"providers/adding.md"}


@pytest.mark.parametrize("path", [*DOCUMENTS, "providers/adding.md"])
def test_its_links_lead_somewhere(path: str) -> None:
    file = DOCS / path
    links = re.findall(r"\]\(([^)#\s]+)\)", file.read_text())
    assert [link for link in links if not (file.parent / link).exists()] == []


@pytest.mark.parametrize("name", KINDS)
def test_an_example_is_a_configuration(name: str) -> None:
    told = yaml.safe_load(PROSE[name].config)
    rest = {"version": 1, "tenants": {"t": {}}, "routes": [{"models": list(told["models"])}]}
    config = Config.model_validate({**rest, **told})
    for provider in config.providers.values():
        assert provider.kind == KINDS[name].provider["kind"] and provider.preset == KINDS[name].provider.get(
            "preset"
        )
        assert adapter_of(provider) and base_url_of(provider).startswith("http")
    assert set(told) == {"providers", "models"}
    for part, fields in (("providers", config.providers), ("models", config.models)):
        for key, given in told[part].items():
            assert set(given) <= set(type(fields[key]).model_fields), "every field is known"
