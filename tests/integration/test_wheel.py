"""What `pip install sluice-llm` brings: a wheel in an environment of its own, far from the source."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from streams.settings import child_environment

ROOT = Path(__file__).parents[2]
PACKAGES = ("sluice", "schemas", "streams", "processors", "sinks")
SOURCES = (*PACKAGES, "config", "pyproject.toml", "README.md", "LICENSE")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
EXAMPLE = "from streams.cli.provision import example; import streams; print(streams.__file__, example(), sep='\\n')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the source tree."""
    copy, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=leftovers)
        else:
            shutil.copy(source, copy / name)
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(made)]
    subprocess.run([*PIP, "wheel", *flags, str(copy)], check=True, timeout=240)
    [found] = made.glob("sluice_llm-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` directory of an environment that has the wheel, and the dependencies of this one."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    subprocess.run(
        [*PIP, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True, timeout=240
    )
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # By its name alone: the directory's own .pth files, of which one leads to the source tree, aren't followed.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(installed: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = child_environment(SLUICE_HOME=str(cwd / "home"), SLUICE_MODEL_URL="http://m/v1", PYTHONPATH="")
    program, *arguments = command
    return subprocess.run(
        [str(installed / program), *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


def test_the_example_configuration_is_found_and_right(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "python", "-c", EXAMPLE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    package, example = (Path(line) for line in done.stdout.splitlines())
    assert package.is_relative_to(installed.parent) and example.is_relative_to(installed.parent)
    assert example.read_text() == (ROOT / "config" / "sluice.yaml").read_text()
    checked = run(installed, "sluice", "config", "check", str(example), cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "is right" in checked.stdout


def test_the_command_starts(installed: Path, tmp_path: Path) -> None:
    assert run(installed, "sluice", "version", cwd=tmp_path).stdout.startswith("sluice 0.")
    assert "dead-letters" in run(installed, "sluice", "--help", cwd=tmp_path).stdout


def test_every_package_tells_type_checkers_that_it_is_typed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_nothing_that_the_source_has_beside_its_modules_is_missing(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {path for path in data - names if not path.endswith(".pyc")} == set()
