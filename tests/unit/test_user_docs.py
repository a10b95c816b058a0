"""What users' documents say of addresses, sizes, settings and tables is so."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from sinks.tables import TABLES
from streams.local import ports, preflight
from streams.local.registry import Registry
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
BROKER, REGISTRY, CLICKHOUSE = ports.WELL_KNOWN.values()
_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)([\w/]*)")


def text(document: str) -> str:
    return (ROOT / document).read_text()


@pytest.mark.parametrize("document", ["README.md", "docs/publishing.md", "examples/publishers/README.md"])
def test_publishers_are_told_the_addresses_of_sluice_up(document: str, tmp_path: Path) -> None:
    found = {int(port): path for port, path in _ADDRESS.findall(text(document))}
    served = Registry(home=tmp_path, ports={"http": REGISTRY}, packages=None).url()  # type: ignore[arg-type]
    assert found == {BROKER: "", REGISTRY: "/" + served.split("/", 3)[3]}


def test_docker_publishes_the_same_ports_as_sluice_up() -> None:
    services = yaml.safe_load(text("docker-compose.yml"))["services"]
    published = {name: s["ports"] for name, s in services.items() if "ports" in s}
    wanted = {"kafka": BROKER, "registry": REGISTRY, "clickhouse": CLICKHOUSE}
    assert {name: int(mapped[0].split(":")[1]) for name, mapped in published.items()} == wanted
    assert "docker-compose.yml" in text("README.md")


def test_the_readme_says_what_the_preflight_wants() -> None:
    disk = preflight.ENVIRONMENT_GB + preflight.JAVA_PARTS_GB + 2 * preflight.DATA_GB
    assert f"{preflight.MEMORY_GB} GB of free memory and {disk} GB of disk" in text("README.md")
    assert "libgomp1" in text("README.md")
    assert len(text("README.md").splitlines()) <= 150


def settings_told() -> dict[str, str]:
    rows = re.findall(r"^\| `SLUICE_(\w+)` \| `?(.*?)`? \|", text("docs/settings.md"), re.MULTILINE)
    return {name.lower(): default for name, default in rows}


def _shown(default: object) -> str:
    match default:
        case None:
            return "none"
        case SecretStr() | "":
            return "empty"
        case bool():
            return str(default).lower()
        case Path():
            return f"~/{default.relative_to(Path.home())}"
        case _:
            return str(default)


def test_every_setting_is_told_with_its_default() -> None:
    assert settings_told() == {name: _shown(field.default) for name, field in Settings.model_fields.items()}


def test_every_setting_has_an_effect() -> None:
    sources = "\n".join(file.read_text() for file in (ROOT / "streams").rglob("*.py"))
    unused = [name for name in Settings.model_fields if not re.search(rf"settings(\(\))?\.{name}\b", sources)]
    assert unused == []


def test_analysts_are_told_every_view_and_columns_that_exist() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (`.+`) \|$", text("docs/analytics.md"), re.MULTILINE)
    told = {view: set(re.findall(r"`(\w+)`", columns)) for view, columns in rows}
    there = views_described()
    assert told.keys() <= there.keys()
    assert {view: columns - there[view] for view, columns in told.items()} == {view: set() for view in told}
    of_a_view = {"result_notices": "notices"}
    assert {of_a_view.get(table, table) for table in TABLES} <= told.keys()


def views_described() -> dict[str, set[str]]:
    """The views of docs/tables.md, with their columns."""
    parts = re.split(
        r"^### analytics\.(\w+)$", text("docs/tables.md").split("## Tables\n")[0], flags=re.MULTILINE
    )[1:]
    columns = [set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) for part in parts[1::2]]
    return dict(zip(parts[::2], columns, strict=True))


@pytest.mark.parametrize(
    "document", ["README.md", "docs/analytics.md", "docs/settings.md", "docs/consuming.md"]
)
def test_every_link_leads_somewhere(document: str) -> None:
    file = ROOT / document
    links = re.findall(r"\]\(([^)#\s]+)\)", file.read_text())
    assert [link for link in links if not (file.parent / link).exists()] == []
