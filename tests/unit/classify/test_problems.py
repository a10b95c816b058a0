"""JSON texts inside a request: how deeply they may be nested."""

import orjson
import pytest

from processors.classify import classify
from processors.classify.problems import Problems
from processors.route.emit import Source
from schemas.config import Config
from schemas.records import Parameters, RequestEvent, ResponseFormat, Tool

CONFIG = Config.model_validate(
    {
        "providers": {"d": {"kind": "dummy"}},
        "models": {"m": {"provider": "d", "vendor_model": "x"}},
        "tenants": {"acme": {}},
        "routes": [{"models": ["m"]}],
    }
)
DEEP_LIST = "[" * 300 + "]" * 300
DEEP_SCHEMA = '{"items":' * 300 + "{}" + "}" * 300


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"parameters": Parameters(extra={"x": DEEP_LIST})}, "parameters.extra.x"),
        ({"tools": [Tool(name="t", input_schema=DEEP_SCHEMA)]}, "tools[0].input_schema"),
        (
            {"response_format": ResponseFormat(type="json_schema", json_schema=DEEP_SCHEMA)},
            "response_format.json_schema",
        ),
    ],
)
def test_what_is_read_but_could_never_be_sent_is_refused(fields: dict[str, object], field: str) -> None:
    """orjson reads deeper nesting than it writes, and the provider's request is written from what was read."""
    with pytest.raises(TypeError):
        orjson.dumps(orjson.loads(DEEP_LIST))
    event = RequestEvent(id="r", tenant="acme", prompt="x", **fields)  # type: ignore[arg-type]
    problems = classify(event, Source("llm.requests", 0, 0, 1_700_000_000_000), CONFIG, "v1").problems
    assert [(p.code, p.field) for p in problems] == [("too_deep", field)]


@pytest.mark.parametrize(
    ("opening", "inside", "closing"), [("[", "1", "]"), ('{"a":', "{}", "}"), ("[", "", "]")]
)
def test_sixty_four_levels_are_the_most(opening: str, inside: str, closing: str) -> None:
    problems = Problems()
    levels = 64 - (inside == "{}")
    problems.json("f", opening * levels + inside + closing * levels)
    assert problems.found == []
    problems.json("f", opening * (levels + 1) + inside + closing * (levels + 1))
    assert [p.code for p in problems.found] == ["too_deep"]


def test_width_is_not_depth() -> None:
    problems = Problems()
    assert len(problems.json("f", "[" + "[1]," * 10_000 + "[1]]")) == 10_001 and problems.found == []
