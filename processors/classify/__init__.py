"""The pure part of the classify stage: validate, normalise and describe a request."""

from processors.classify.classify import Source, classify
from processors.classify.control import parse_control

__all__ = ["Source", "classify", "parse_control"]
