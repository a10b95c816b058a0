"""How large the fault runs are: full size with `--full` (`make chaos`), scaled down in `make test`."""

_full = False


def use_full_size(full: bool) -> None:
    """Called once, when pytest has read its options."""
    global _full
    _full = full


def scaled(full: int, small: int) -> int:
    """`full` under `--full`, else `small`."""
    return full if _full else small


def full_size() -> bool:
    """True under `--full`; known before test modules are imported."""
    return _full
