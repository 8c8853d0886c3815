"""Tests of the container image, for scripts/container; none without NETBOND_IMAGE, its file."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "NETBOND_IMAGE" in os.environ else ["test_*.py"]
