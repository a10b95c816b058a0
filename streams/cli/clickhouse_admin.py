"""ClickHouse as commands that manage it need it: the sink's own client, with the rights of the settings' user."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sinks.clickhouse import Access, ClickHouse
from sinks.migrate import MigrationFailed
from sinks.store import StoreError, Unavailable
from streams.cli.connect import Where
from streams.cli.failure import Failure, Refused, Unreachable

_DENIED = {497, 164}  # ACCESS_DENIED, READONLY


def access_of(place: Where) -> Access:
    """Where ClickHouse is, and as whom."""
    settings = place.settings
    password = settings.clickhouse_password.get_secret_value()
    return Access(place.clickhouse_url, settings.clickhouse_user, password, settings.clickhouse_database)


@asynccontextmanager
async def managing(place: Where, what: str) -> AsyncIterator[ClickHouse]:
    """The client, while it is needed. Raises Failure in the store's errors' place; `what` was to be done."""
    clickhouse = ClickHouse(access_of(place))
    try:
        yield clickhouse
    except Unavailable as error:
        if error.code in _DENIED:
            hint = f"{place.settings.clickhouse_user} lacks the right: set SLUICE_CLICKHOUSE_USER to one who has it"
            raise Refused(f"{what}: {error}", hint) from error
        if error.code is not None:
            raise Failure(f"{what}: {error}") from error
        message = f"ClickHouse doesn't answer at {place.clickhouse_url}: {error}"
        raise Unreachable(message, "`sluice up` starts it") from error
    except MigrationFailed as error:
        raise Refused(f"{what}: {error}") from error
    except StoreError as error:
        raise Failure(f"{what}: {error}") from error
    finally:
        await clickhouse.close()
