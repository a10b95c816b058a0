"""Estimated tokens: near what a vocabulary makes of each kind of text; a model's own tokenizer counts exactly."""

import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from processors.tokens import factors_of, least_tokens, request_tokens, text_tokens
from schemas.config import Model
from schemas.records import RequestEvent
from streams.services.call.token_counter import TokenCounter

# Tokens of o200k, counted with the vocabulary itself.
SAMPLES = {
    "prose": (
        'Every accepted request gets exactly one visible result, whatever crashes on the way; each '
        'call is written down before it is made, and no budget is ever overspent.',
        33,
    ),
    "code": (
        'def total(prices: list[Decimal]) -> Decimal:\n    """The sum of all prices."""\n    found = '
        'Decimal(0)\n    for price in prices:\n        found += price\n    return found\n',
        42,
    ),
    "json": (
        '{"id":"a81f","items":[{"name":"bolt","count":12,"price":0.35},{"name":"nut","count":40,"pr'
        'ice":0.08}],"paid":true}',
        43,
    ),
    "base64": (
        'q83vEjRWeJq83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vA=',
        56,
    ),
    "german": (
        'Jede angenommene Anfrage bekommt genau ein sichtbares Ergebnis, was auch immer unterwegs abstürzt.',
        20,
    ),
    "russian": (
        'Каждый принятый запрос получает ровно один видимый результат, что бы ни сломалось по пути.',
        23,
    ),
    "chinese": (
        '每个被接受的请求都会得到恰好一个可见的结果。无论途中发生什么故障。',
        25,
    ),
    "japanese": (
        '受け付けられたすべての要求は、途中で何が起きても、必ず一つの結果を得ます。',
        32,
    ),
    "arabic": (
        'كل طلب مقبول يحصل على نتيجة واحدة مرئية فقط، مهما حدث في الطريق.',
        17,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_an_estimate_is_near_what_the_vocabulary_makes_of_it(name: str) -> None:
    text, tokens = SAMPLES[name]
    assert tokens * 0.5 <= text_tokens(text, factors_of("gpt-4o")) <= tokens * 1.5


def test_the_least_of_an_estimate_is_not_above_the_truth() -> None:
    for text, tokens in SAMPLES.values():
        assert least_tokens(RequestEvent(prompt=text), "gpt-4o") <= tokens


def test_an_estimate_is_at_most_a_token_a_byte_and_never_nothing() -> None:
    for text in ("x", " ", " " * 1000, "漢字", "🙂" * 50, "\ud800", "é" * 7, "\n" * 40):
        for model in ("gpt-4o", "gpt-4", "anything"):
            assert 0 < text_tokens(text, factors_of(model)) <= len(text.encode("utf-8", "surrogatepass"))
    assert request_tokens(RequestEvent()) == 0


def model(**told: str) -> Model:
    return Model.model_validate({"provider": "p", "vendor_model": "own", **told})


def test_a_models_own_tokenizer_counts(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"one": 0, "two": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    counter = TokenCounter()
    request = RequestEvent(prompt="one two three", system="two \ud800")
    assert counter(model(tokenizer=str(tmp_path / "tokenizer.json")), request) == 5


def test_one_that_cannot_be_used_is_told_once_and_estimated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counter, broken = TokenCounter(), tmp_path / "tokenizer.json"
    broken.write_text("{}")
    request = RequestEvent(prompt="some words " * 100)
    for path in (str(broken), str(tmp_path / "none.json")):
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert counter(model(tokenizer=path), request) == least_tokens(request, "own")
        assert sum(path in line for line in caplog.messages) == 1
