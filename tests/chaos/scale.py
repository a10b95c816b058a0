"""How large the fault runs are: full size under `make chaos`, scaled down in `make test`."""

import os

FULL = os.environ.get("SLUICE_CHAOS_FULL") == "1"


def scaled(full: int, small: int) -> int:
    """`full` under `make chaos`, else `small`."""
    return full if FULL else small
