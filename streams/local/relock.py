"""Prints the lock file of Kafka's jars after a change of its version: run it, read the difference, commit it.

    python -m streams.local.relock > streams/local/kafka.lock
"""

import hashlib
import tempfile
from pathlib import Path

import jgo

from streams.local.artifacts import Artifact, format_lock
from streams.local.jgo_fetch import fetch
from streams.local.packages import KAFKA_COORDINATES


def main() -> None:
    """Resolve what Kafka needs, download it, and print a line for each file."""
    resolved = jgo.resolve("+".join(":".join(c) for c in KAFKA_COORDINATES))
    wanted = {Artifact(a.groupId, a.artifactId, a.version) for a in resolved}
    with tempfile.TemporaryDirectory() as scratch:
        into = Path(scratch, "jars")
        into.mkdir()
        for artifact in wanted:
            fetch(artifact, into)
        digests = {a: hashlib.sha256((into / a.file_name).read_bytes()).hexdigest() for a in wanted}
    print(format_lock(digests.items()), end="")


if __name__ == "__main__":
    main()
