"""Says of each command in the documentation which test runs it, or why none does.

A key is the beginning of a command, without sudo. The longest key that fits counts. Keys of RUN are whole
commands, which tests/netns/test_docs_commands.py runs in a box with four modems.
"""

from __future__ import annotations

# The command, and which of the lines that the page says it prints must be among those that it prints (a
# regular expression, searched for). Numbers, times and names may differ.
ALL, NONE = "", "(?!)"
RUN = {
    "ip -br address": NONE,
    "ip route get 8.8.8.8 from ADDRESS-OF-AN-UPLINK": ALL,
    "ip route show table netbond": ALL,
    "ip route show table usb0": ALL,
    "ip route show table usb1": ALL,
    "ip rule": "proto netbond",
    "mkdir -p /etc/netbond": ALL,
    "netbond config check": ALL,
    "netbond config check my.toml": ALL,
    "netbond config check typo.toml": ALL,
    "netbond config example >/etc/netbond/netbond.toml": ALL,
    "netbond config example | sudo tee /etc/netbond/netbond.toml": ALL,
    "netbond config schema >netbond.schema.json": ALL,
    "netbond events --since 10min": " running: ",
    "netbond explain 8.8.8.8 --from 10.0.1.10": ALL,
    "netbond fleet sd boxes.toml": ALL,
    "netbond plan": ALL,
    "netbond set": ALL,
    "netbond set usb1 off --for 1h": ALL,
    "netbond status": "^Uplinks|^  uplink ",
    "netbond unset usb1": ALL,
    "openssl rand -hex 32 | install -m 600 /dev/stdin /etc/netbond/stats-key": ALL,
    "ps -C dhclient,NetworkManager,dhcpcd,systemd-networkd -o comm=": NONE,
    "sed -i '1i #:schema ./netbond.schema.json' netbond.toml": ALL,
}

BOXES, LAB, WATCH = "tests/boxes/test_install.py", "tests/netns/test_lab.py", "tests/e2e/test_watch.py"
NEWCOMER = "tests/boxes/test_newcomer.py"
RUN_BY = {
    "(sleep 9; sudo netbond lab unplug": LAB,
    "/opt/netbond/bin/netbond install": BOXES,
    "/opt/netbond/bin/pip install": BOXES,
    "contrib/gstreamer/netbond_send.py": "tests/e2e/test_gstreamer.py",
    "curl -s 'http://127.0.0.1:8181/stats": "tests/e2e/test_noalbs.py",
    "curl -s http://127.0.0.1:10469/advice": "tests/unit/status/test_metrics.py",
    "ffmpeg": NEWCOMER,
    "git clone REPOSITORY netbond && cd netbond": NEWCOMER,
    "install -m 644 contrib/systemd/netbond.service": "tests/vm/conftest.py",
    "ln -s /opt/netbond/bin/netbond /usr/local/bin/srtla_": "tests/unit/cli/test_dropin.py",
    "netbond doctor": "tests/netns/test_doctor.py",
    "netbond events": "tests/unit/cli/test_events.py",
    "netbond exec": "tests/netns/test_exec.py",
    "netbond lab": LAB,
    "netbond lab demo": "tests/e2e/test_demo.py",
    "netbond rehearse": "tests/e2e/test_rehearse.py",
    "netbond run --restore": "tests/netns/test_agent_sysctls.py",
    "netbond send --bitrate-file": "tests/e2e/test_srtla_encoder.py",
    "netbond send --watch-socket": WATCH,
    "netbond status --check": NEWCOMER,
    "netbond uninstall": BOXES,
    "netbond watch": WATCH,
    "openssl req -x509": "tests/netns/test_page.py",
    "python3 -m venv /opt/netbond": BOXES,
    "rm -r /opt/netbond": BOXES,
    "scripts/demo": "tests/e2e/test_demo.py",
    "scripts/install": NEWCOMER,
    "scripts/test": ".ci/run",
}

SYSTEM = "changes the machine that the tests run on"
ELSEWHERE = "another program's; what netbond has to do with it is tested"
NOT_RUN = {
    ".venv/bin/": "tests do not run themselves, and measurements take long",
    "apt": SYSTEM,
    "belacoder": "is not packaged; bench/results/advice.md says how it was run",
    "cd contrib/container": "docs/container.md says what of the image was run, and what was not",
    "chmod 600 /etc/netbond/page.key": SYSTEM,
    "docker": "docs/container.md says what of the image was run, and what was not",
    "editor": "for a person",
    "firewall-cmd": SYSTEM,
    "gst-launch-1.0": "tests/e2e/test_gstreamer.py runs a program that does the same",
    "ifup": SYSTEM,
    "install -m 644 contrib/prometheus": SYSTEM,
    "install -m 755 contrib/prometheus": SYSTEM,
    "iptables": SYSTEM,
    "kubectl": "needs Kubernetes; tests/netns/test_contrib_kubernetes.py runs what the manifest says",
    "ln -s /opt/netbond/bin/netbond /usr/local/bin/netbond": SYSTEM,
    "mkdir -p /etc/systemd/networkd.conf.d": SYSTEM,
    "netbond exec --user root wwan0 -- apt-get": SYSTEM,
    "netbond exec usb1 -- curl https": "needs the network; tests/netns/test_exec.py has a server of its own",
    "nft add": SYSTEM,
    "nmcli": ELSEWHERE,
    "printf '[Network]": SYSTEM,
    "openssl rand -hex 32 >stats-key": SYSTEM,
    "prometheus": ELSEWHERE,
    "rm /etc/systemd": SYSTEM,
    "scripts/build": "takes minutes for each wheel; tests/unit/across/test_build.py tests its parts",
    "scripts/vm": "takes many minutes",
    "sh -c 'umask 077; openssl rand": SYSTEM,
    "socat": ELSEWHERE,
    "srt-live-transmit": "the address is an example; tests/e2e run it with others",
    "ssh": "needs another machine",
    "systemctl": "needs systemd; tests/boxes and tests/vm have it",
    "udevadm": "needs a modem",
    "ufw": SYSTEM,
    "useradd": SYSTEM,
}


def entry(command: str) -> str | None:
    """The key for this command in one of the tables; None if there is none."""
    command = command.removeprefix("sudo ")
    if command in RUN:
        return command
    return max((key for key in (*RUN_BY, *NOT_RUN) if command.startswith(key)), key=len, default=None)
