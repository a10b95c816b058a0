"""Downloads locked Java artifacts from Maven Central with jgo, as a program of its own.

    python -m streams.local.jgo_fetch LOCK_FILE DIRECTORY
"""

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from jgo import MavenContext

from streams.local.artifacts import Artifact, read_lock

_TIMEOUT_S = 60  # of one network operation
_AT_ONCE = 8
_TRIES = 3


def fetch(artifact: Artifact, into: Path) -> None:
    """Download one artifact. Raises ConnectionError when the repository can't be reached or lacks it."""
    for attempt in range(1, _TRIES + 1):
        with tempfile.TemporaryDirectory(dir=into) as scratch:
            context = MavenContext(repo_cache=Path(scratch), timeout=_TIMEOUT_S)
            component = context.project(artifact.group, artifact.name).at_version(artifact.version)
            try:
                file = component.artifact(classifier=artifact.classifier, packaging=artifact.extension)
                shutil.move(file.resolve(), into / artifact.file_name)
                return
            except (requests.RequestException, RuntimeError) as error:
                if attempt == _TRIES:
                    raise ConnectionError(f"{artifact}: {error}") from error


def main(lock: Path, into: Path) -> int:
    """Fetch all, several at once. Returns the exit status."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [pool.submit(fetch, artifact, into) for artifact in read_lock(lock)]
        for future in futures:
            try:
                future.result()
            except ConnectionError as error:
                pool.shutdown(wait=False, cancel_futures=True)
                print(error, file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
