"""The version of this distribution."""

from importlib.metadata import PackageNotFoundError, version


def number() -> str:
    """The installed version, or `unknown` when run from a tree that isn't installed."""
    try:
        return version("sluice-llm")
    except PackageNotFoundError:
        return "unknown (not installed)"
