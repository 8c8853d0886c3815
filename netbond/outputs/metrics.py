"""Serves the metrics for Prometheus, and the advice of senders, over HTTP while the agent runs. Output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netbond.config.schema import Config
from netbond.contracts import Look, Output
from netbond.desired import Desired
from netbond.errors import NetbondError
from netbond.model import Facts, Interface
from netbond.status.metrics import Advice, MetricsServer
from netbond.status.schema import Snapshot


class Metrics(Output):
    """Serves the latest snapshot. If the port is in use, that is a problem, but routing continues."""

    name = "metrics"

    def __init__(
        self, config: Config, snapshot: Callable[[], Snapshot | None], advice: Advice = dict
    ) -> None:
        """`snapshot` and `advice` as for MetricsServer."""
        listen = config.agent.metrics
        self._server = None if listen is None else MetricsServer(listen.host, listen.port, snapshot, advice)
        self._problems: Sequence[str] = ()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Begin to listen."""
        if self._server is not None:
            try:
                self._server.start()
            except NetbondError as error:
                self._problems = (str(error),)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.stop()

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Return the reason why it does not listen, if there is one; it has nothing to apply."""
        return self._problems
