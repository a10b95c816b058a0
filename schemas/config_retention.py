"""How long ClickHouse keeps texts, by class of data."""

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import BaseModel, Field

from schemas.config_base import PART

FOR_EVER: Final = 0
# ClickHouse's times of removal end in 2106.
Days = Annotated[int, Field(ge=0, le=3650)]


class Retention(BaseModel):
    """Days from the insertion; 0 stands for ever. Of a request with several classes the shortest time holds.

    `bodies_days` and `dead_letters_days` hold for what carries no class, or one that isn't listed.
    """

    model_config = PART

    bodies_days: Days = Field(30, description="texts of results")
    dead_letters_days: Days = Field(FOR_EVER, description="original bytes of dead letters")
    data_classes: dict[str, Days] = Field({}, description="both, of this class of data")

    def of_bodies(self, classes: Iterable[str]) -> int:
        """How many days the text of a result of these classes is kept; 0 for ever."""
        return self._shortest(classes, self.bodies_days)

    def of_dead_letters(self, classes: Iterable[str]) -> int:
        """How many days the original bytes of a record of these classes are kept; 0 for ever."""
        return self._shortest(classes, self.dead_letters_days)

    def _shortest(self, classes: Iterable[str], otherwise: int) -> int:
        told = {self.data_classes.get(name, otherwise) for name in classes} or {otherwise}
        return min(told - {FOR_EVER}, default=FOR_EVER)
