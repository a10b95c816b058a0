"""Secrets as they are resolved."""

from pathlib import Path

import pytest

from streams.settings import resolve_secret


def test_spaces_and_line_ends_around_a_secret_aren_t_part_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An HTTP client refuses a header with a line end: each call would fail for what `$(cat key)` left behind."""
    monkeypatch.setenv("A_KEY", " sk-1\r\n")
    (tmp_path / "key").write_text("sk-2\n")
    assert resolve_secret("env:A_KEY") == "sk-1"
    assert resolve_secret(f"file:{tmp_path / 'key'}") == "sk-2"


@pytest.mark.parametrize("value", ["sk-1\nx-other: header", "sk\x7f"])
def test_what_no_header_can_hold_is_refused_without_being_told(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("A_KEY", value)
    with pytest.raises(ValueError, match="env:A_KEY") as refused:
        resolve_secret("env:A_KEY")
    assert "sk" not in str(refused.value)


def test_a_secret_that_isn_t_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    for reference in ("env:A_KEY", f"file:{tmp_path / 'none'}"):
        with pytest.raises(ValueError, match=reference):
            resolve_secret(reference)
