"""JSON values that a predecessor may have left, or that are none of its making."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KEYS = [
    "group",
    "groups",
    "links",
    "registered",
    "id",
    "srt_port",
    "address",
    "device",
    "port",
    "caller",
    "latency",
]
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["10.0.0.1", "::1", "00" * 256, "1.2.3.4:5", "usb0"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip
