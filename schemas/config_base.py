"""What every part of the configuration is made of."""

from typing import Annotated, Final

from pydantic import ConfigDict, StringConstraints

ConfigId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]
SecretRef = Annotated[str, StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]

# A worker of an older version reads a newer one's configuration: what it doesn't know it passes over. The YAML loader
# forbids unknown fields, so that a typing error never passes.
# Errors never show what was given: it may be a secret in the wrong place.
PART: Final = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)
