"""The entry point of the `sluice` command."""

import sys


def main() -> None:
    """Run the command line and exit. An expected failure is one line with its remedy, never a traceback."""
    if sys.argv[1:] in (["version"], ["--version"]):  # answered without what a whole command line needs
        from streams.cli.version import number

        print(f"sluice {number()}")
        return
    from streams.cli.app import app

    try:
        app(prog_name="sluice")
    except Exception as error:
        from streams.cli import output
        from streams.cli.failure import translate

        failure = translate(error, _brokers())
        if failure is None or "--verbose" in sys.argv:
            raise
        output.failure(failure)
        sys.exit(failure.code)


def _brokers() -> str | None:
    """The brokers that were tried, for an error's text; None where even the settings can't be read."""
    from streams.cli.connect import where

    try:
        return where().brokers
    except ValueError:
        return None


if __name__ == "__main__":
    main()
