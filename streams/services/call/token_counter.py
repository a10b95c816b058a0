"""Counts the tokens of a request: by the model's own tokenizer where its file is named, else by estimate."""

import importlib
import logging
from typing import Any, Final

from processors.request_size import texts_of
from processors.tokens import least_tokens
from schemas.config import Model
from schemas.records import RequestEvent

_log = logging.getLogger(__name__)
_EXTRA: Final = "the package tokenizers isn't installed: install sluice's extra `tokenizers`"


class TokenCounter:
    """See processors.providers.window.CountTokens: what it tells is at most what the model would count.

    A tokenizer's file (Hugging Face's tokenizer.json) is read once. One that can't be used is told in the log,
    once, and its models are estimated.
    """

    def __init__(self) -> None:
        self._read: dict[str, Any] = {}

    def __call__(self, model: Model, request: RequestEvent) -> int | None:
        tokenizer = self._tokenizer(model.tokenizer) if model.tokenizer else None
        if tokenizer is None:
            return least_tokens(request, model.vendor_model)
        texts = [text.encode("utf-8", "replace").decode() for text in texts_of(request)]
        return sum(len(found.ids) for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False))

    def _tokenizer(self, path: str) -> Any:
        if path not in self._read:
            self._read[path] = self._load(path)
        return self._read[path]

    def _load(self, path: str) -> Any:
        try:
            return importlib.import_module("tokenizers").Tokenizer.from_file(path)
        except ImportError:
            why = _EXTRA
        except Exception as error:  # the library raises nothing narrower, for a missing file too
            why = str(error)
        _log.warning("tokenizer %s can't be used, its models' prompts are estimated: %s", path, why)
        return None
