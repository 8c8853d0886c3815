"""Parses JSON from files and other processes; refuses what cannot be written again or exhausts the stack.

Quick to import: a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

import json

DEEPEST = 16  # levels of objects and lists; statistics of engines, the deepest, have five


def parse(data: bytes | str) -> object:
    """The value; ValueError with the reason in a few words for anything that is not JSON.

    NaN and infinite numbers, which Python's own reader accepts, are refused; so is what is nested more than
    DEEPEST levels.
    """
    try:
        value: object = json.loads(data, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except _RefusedError:
        raise
    except ValueError:  # also for bytes that are not text, and for numbers of thousands of digits
        raise ValueError("it is not JSON") from None
    if _deeper_than(value, DEEPEST):
        raise ValueError("it is nested too deeply")
    return value


class _RefusedError(ValueError):
    """It is JSON to Python, and not to others."""


def _no_constant(name: str) -> float:
    raise _RefusedError(f"it contains {name}, which is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _RefusedError("it contains a number that is too large")
    return number


def _deeper_than(value: object, levels: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inside = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        level = [item for item in inside if isinstance(item, dict | list)]
    return bool(level)
