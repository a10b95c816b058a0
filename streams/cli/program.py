"""How the user started this program, so that commands which are printed for him work when he repeats them."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """What to type for `sluice` in this shell: the bare name only where the shell would find this very program."""
    started = Path(sys.argv[0])
    if started.name != "sluice":
        return f"{shlex.quote(_shown(Path(sys.executable)))} -m streams.cli.main"
    found = shutil.which("sluice")
    if found is not None and os.path.samefile(found, shutil.which(started) or started):
        return "sluice"
    return shlex.quote(_shown(started))


def _shown(path: Path) -> str:
    """The path as it is shortest from the working directory."""
    near = os.path.relpath(path.absolute())
    if near.startswith(os.pardir):
        return str(path.absolute())
    return near if os.sep in near else os.path.join(os.curdir, near)
