"""What tests of the configuration say about its errors."""

from __future__ import annotations

import re

from netbond.errors import ConfigError


def without_line(error: ConfigError) -> str:
    """The error as its user sees it, without the number of the line; test_mistakes.py is about those."""
    return re.sub(r"^([^:]+):[0-9]+: ", r"\1: ", str(error))
