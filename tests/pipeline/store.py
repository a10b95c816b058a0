"""What ClickHouse holds, by where each row's record lies on Kafka."""

from collections import Counter
from typing import Any, Final

import httpx

from tests.pipeline.evidence import Lies

TABLES: Final = ("results", "result_notices", "usage", "audit", "requests", "attempts", "dead_letters")


class Store:
    """A reader of one database."""

    def __init__(self, url: str, database: str) -> None:
        self._url, self._database = url, database
        self._http = httpx.AsyncClient(timeout=60)

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        parameters = {"database": self._database, "default_format": "JSON"}
        answer = await self._http.post(self._url, params=parameters, content=sql)
        assert answer.is_success, f"{sql}: {answer.text[:500]}"
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def positions(self) -> dict[str, Counter[Lies]]:
        """Each table's rows by topic, partition and offset, with how often each is there."""
        found: dict[str, Counter[Lies]] = {}
        for table in TABLES:
            sql = f"SELECT kafka_topic AS t, kafka_partition AS p, kafka_offset AS o, count() AS n FROM {table}"
            rows = await self.rows(f"{sql} GROUP BY t, p, o")
            found[table] = Counter({(r["t"], int(r["p"]), int(r["o"])): int(r["n"]) for r in rows})
        return found

    async def close(self) -> None:
        await self._http.aclose()
