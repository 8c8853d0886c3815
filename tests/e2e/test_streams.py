"""Streams of real SRT programs by their stream ids: the name at both ends, and several SRT servers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from netbond.srtla.streamid import display_name
from tests.srtla_net import RECEIVER, Agent, Stream, eventually, net, receiving_agent, sending_agent

pytestmark = pytest.mark.root


def up(agent: Agent) -> bool:
    return any(link["state"] == "up" for link in agent.stats.get("links", []))


def streams(receiver: Agent) -> list[tuple[str, str, str]]:
    return [
        (group["stream"], group.get("stream_id", ""), group["server"])
        for group in sorted(receiver.stats["groups"], key=lambda group: str(group["server"]))
        if group["bitrate_bps"]
    ]


def test_both_ends_read_the_stream_id_and_their_successors_know_it(tmp_path: Path) -> None:
    stream_id = "publish/live/feed1"
    name = display_name(stream_id)
    with net(tmp_path, 2) as lab:
        stream = Stream(lab, latency=2000, options="&passphrase=0123456789ab", calls=f"&streamid={stream_id}")
        receiver, sender = receiving_agent(lab), sending_agent(lab)
        eventually(lambda: up(sender), 10)
        stream.start()
        stream.arrives()
        eventually(lambda: streams(receiver) == [(name, stream_id, "127.0.0.1:5002")])
        eventually(lambda: (sender.stats["stream"], sender.stats["stream_id"]) == (name, stream_id))
        assert f"the SRT server has accepted the stream {name}" in lab.log("send.log")
        assert f"stream {name} (group " in lab.log("recv.log")
        assert "feed1" not in lab.log("send.log") + lab.log("recv.log")
        receiver.kill()
        receiver = receiving_agent(lab, resume=receiver.resume)
        sender.kill()
        sender = sending_agent(lab, resume=sender.resume)
        stream.arrives()
        eventually(lambda: streams(receiver) == [(name, stream_id, "127.0.0.1:5002")])
        eventually(lambda: (sender.stats["stream"], sender.stats["stream_id"]) == (name, stream_id))
        assert stream.caller.poll() is None, "the SRT connection broke"
        assert stream.listener.poll() is None, "the SRT connection broke"


def test_streams_go_to_the_srt_server_that_their_id_names(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        secret = "&passphrase=0123456789ab&pbkeylen=32"
        one = Stream(lab, latency=1000, again=True, options=secret, calls="&streamid=live/one")
        two = Stream(
            lab, latency=1000, port=5003, caller_port=6001, options=secret, calls="&streamid=studio/two"
        )
        receiver = receiving_agent(lab, more=("--srt-server", "studio/*=127.0.0.1:5003"))
        sender = sending_agent(lab)
        lab.netbond(lab.box, "send", "6001", RECEIVER, "5000", str(lab.ips()), log="other.log")
        eventually(lambda: up(sender) and ": up" in lab.log("other.log"), 10)
        begin = time.monotonic()
        one.start()
        two.start()
        one.arrives()
        two.arrives()
        print(f"both streams are there after {time.monotonic() - begin:.1f} s")
        eventually(
            lambda: (
                [(stream_id, server) for _, stream_id, server in streams(receiver)]
                == [("live/one", "127.0.0.1:5002"), ("studio/two", "127.0.0.1:5003")]
            )
        )
        # An encoder that was killed comes back to its server.
        one.caller.kill()
        time.sleep(1.6)  # until the sender takes another caller
        one.start()
        one.arrives()
        assert "another SRT caller: the SRT connection before is ended" in lab.log("recv.log")
        two.arrives()
        assert "Traceback" not in lab.log("recv.log")
