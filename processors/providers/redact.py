"""Secrets kept out of everything that is written: error messages, logs, outcomes and what is made of them.

Providers echo keys in error bodies, and libraries put them into exceptions. Whoever resolves a secret or fetches a
token tells it to `SECRETS`, the one registry of the process; texts that come from outside are cleaned by it before they
are cut, and log lines as the last thing before they are written.
"""

import json
import logging
import re
from collections import OrderedDict
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[redacted]"
# Shorter ones are in every text.
_SHORTEST: Final = 6
# Tokens are renewed; old ones may go.
_MOST: Final = 512
# What looks like a credential of a known vendor, whoever gave it.
_LOOKS_SECRET: Final = re.compile(
    r"(?i:(?<=bearer )|(?<=bearer%20))[\w.~+/=%-]{8,}"
    r"|\b(?:sk|gsk|xai|pplx)-[\w-]{16,}|\bgsk_\w{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bya29\.[\w.-]{10,}"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"
)


class Redactor:
    """Knows secrets, and takes them out of texts."""

    def __init__(self) -> None:
        self._forms: OrderedDict[str, None] = OrderedDict()

    def add(self, secret: str) -> None:
        """Remember a secret, in each form in which texts show it. Too short a one can't be told from words."""
        if len(secret) < _SHORTEST:
            return
        for form in {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}:
            self._forms[form] = None
            self._forms.move_to_end(form)
        while len(self._forms) > _MOST:
            self._forms.popitem(last=False)

    def clean(self, text: str) -> str:
        """The text without secrets; one that is cut off at the end of the text is found too."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        text = _LOOKS_SECRET.sub(REDACTED, text)
        return self._without_cut(text)

    def clean_bytes(self, data: bytes) -> bytes:
        """The same for bytes of any encoding that writes ASCII as it is; other bytes stay as they are."""
        return self.clean(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _without_cut(self, text: str) -> str:
        for form in self._forms:
            for length in range(min(len(form) - 1, len(text)), _SHORTEST - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + REDACTED
        return text


SECRETS: Final = Redactor()


class RedactingFormatter(logging.Formatter):
    """Formats a log record, traceback and all, and takes the secrets out."""

    def format(self, record: logging.LogRecord) -> str:
        return SECRETS.clean(super().format(record))
