#!/usr/bin/env python3
"""Sends a camera's picture over netbond, at the bitrate that netbond advises: GStreamer, x264, MPEG-TS, SRT.

usage: netbond_send.py [--device /dev/video0] [--srt URI] [--socket PATH] [--least KBIT] [--most KBIT]

Without a device it sends noise, which needs every bit that it may have. Debian: apt install python3-gi
gir1.2-gstreamer-1.0 gstreamer1.0-plugins-{base,good,bad,ugly}. docs/watch.md says what `netbond watch` tells.
"""

import argparse
import contextlib
import json
import signal
import subprocess

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402 - gi must know the version first

OVERHEAD = 0.06  # of the payload: MPEG-TS, and what x264 exceeds its bitrate by now and then
PIPELINE = (
    "{source} ! videoconvert ! x264enc name=video tune=zerolatency speed-preset=superfast key-int-max=60"
    " bitrate={rate} ! h264parse config-interval=-1 ! mpegtsmux alignment=7 ! srtsink uri={srt}"
    " wait-for-connection=false"
)
NOISE = "videotestsrc is-live=true pattern=snow ! video/x-raw,width=320,height=180,framerate=30/1"

parser = argparse.ArgumentParser(description="Send a picture over netbond at the bitrate that it advises.")
parser.add_argument("--device", help="the camera (default: noise)")
parser.add_argument("--srt", default="srt://127.0.0.1:6000?mode=caller&latency=1000", help="netbond's sender")
parser.add_argument("--socket", help="of netbond send --watch-socket (default: ask the agent)")
parser.add_argument("--least", type=int, default=500, help="video, kbit/s")
parser.add_argument("--most", type=int, default=8000, help="video, kbit/s")
args = parser.parse_args()

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
Gst.init(None)
source = f"v4l2src device={args.device}" if args.device else NOISE
pipeline = Gst.parse_launch(PIPELINE.format(source=source, rate=args.least, srt=f'"{args.srt}"'))
video, bus, rate = pipeline.get_by_name("video"), pipeline.get_bus(), args.least
pipeline.set_state(Gst.State.PLAYING)
command = ["netbond", "watch", "--json", *(["--socket", args.socket] if args.socket else [])]
with contextlib.suppress(KeyboardInterrupt), subprocess.Popen(command, stdout=subprocess.PIPE) as watch:
    for line in watch.stdout:  # one a second at least
        advice = json.loads(line)["advice"]
        if advice is not None:
            wanted = int(advice["advised_bits_per_second"] / 1000 * (1 - OVERHEAD))
            wanted = max(args.least, min(args.most, wanted))
            if abs(wanted - rate) >= 0.03 * rate:
                rate = wanted
                video.set_property("bitrate", rate)
                print(f"{rate} kbit/s", flush=True)
        message = bus.pop_filtered(Gst.MessageType.ERROR | Gst.MessageType.EOS)
        if message is not None:
            print("the pipeline has ended:", message.parse_error()[0].message, flush=True)
            watch.terminate()
            break
pipeline.set_state(Gst.State.NULL)
