"""Makes the images: a fresh Debian 12, and a box on which netbond is installed as docs/install.md says.

usage: python -m tests.vm.image base|box FOLDER      (scripts/vm calls it)

FOLDER gets boot/ (kernel and initrd), base.raw and box.qcow2. From the environment: NETBOND_VM_MIRROR (a
mirror of Debian's) and NETBOND_VM_CA (a file of more certificates for the machines to trust).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.vm.qemu import Machine, MachineError

ROOT = Path(__file__).parents[2]
SIZE = "12G"  # of a disc; a file with holes
# What Debian's installer gives without any task, git and python3 beside; the guest agent is our way in.
VARIANT = "important"
PACKAGES = ("linux-image-amd64", "qemu-guest-agent", "git", "python3", "sudo", "ca-certificates")
MIRROR = "http://deb.debian.org/debian"


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"\033[1m==> {text}\033[0m", file=sys.stderr, flush=True)


def checkout(folder: Path) -> Path:
    """The checkout, as far as git knows its files, as a bundle in a file that can be a disc."""
    git = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}"]

    def ask(*arguments: str) -> str:
        return subprocess.run([*git, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    # With what is not committed yet, if there is such.
    commit = ask("stash", "create") or ask("rev-parse", "HEAD")
    bundle = folder / "checkout.bundle"
    reference = f"refs/netbond-vm/{os.getpid()}"
    ask("update-ref", reference, commit)
    try:
        ask("bundle", "create", "--quiet", str(bundle), reference)
    finally:
        ask("update-ref", "-d", reference)
    size = bundle.stat().st_size
    disc = folder / "checkout.disc"
    disc.write_bytes(
        f"{size} {reference}".encode().ljust(511) + b"\n" + bundle.read_bytes().ljust(-(-size // 512) * 512)
    )
    bundle.unlink()
    return disc


# In the machine: the disc of `checkout` becomes a clone in the folder.
CLONE = """
set -e
head -c 512 /dev/vdb | { read size reference
tail -c +513 /dev/vdb | head -c "$size" >/tmp/checkout.bundle
git -c init.defaultBranch=main init -q %(folder)s
git -C %(folder)s fetch -q /tmp/checkout.bundle "$reference"
git -C %(folder)s -c advice.detachedHead=false checkout -q -b main FETCH_HEAD; }
rm /tmp/checkout.bundle
"""


# In the new tree "$1": what Debian's installer would leave, with a card for the internet.
CUSTOMIZE = r"""set -e
cd "$1/etc"
echo netbond >hostname
printf '127.0.0.1 localhost\n127.0.1.1 netbond\n' >hosts
printf '/dev/vda / ext4 errors=remount-ro 0 1\n' >fstab
printf 'source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n' >network/interfaces
printf 'allow-hotplug ens16\niface ens16 inet dhcp\n' >network/interfaces.d/internet
rm -f resolv.conf
chroot .. useradd -m -s /bin/bash -G sudo user
echo 'user ALL=(ALL) NOPASSWD: ALL' >sudoers.d/user
# QEMU's card is a RNDIS one, a CDC one and a simple one; as a stick it shall be driven by cdc_ether.
echo 'blacklist cdc_subset' >modprobe.d/netbond-vm.conf
"""


def trust(machine: Machine) -> None:
    """Let a machine trust what NETBOND_VM_CA names, before it asks anybody for packages."""
    if authority := os.environ.get("NETBOND_VM_CA"):
        # One file for each: update-ca-certificates passes over those with several.
        certificates = re.findall(
            "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n",
            Path(authority).read_text(),
            re.DOTALL,
        )
        for number, certificate in enumerate(certificates):
            machine.write(f"/usr/local/share/ca-certificates/netbond-vm-{number}.crt", certificate)
        machine.run("update-ca-certificates")


def make_base(folder: Path) -> None:
    """A fresh Debian 12."""
    image = folder / "base.raw"
    if image.exists():
        return
    say(f"making a fresh Debian 12 with mmdebstrap ({', '.join(PACKAGES)}; some minutes)")
    tree, boot = folder / "tree", folder / "boot"
    shutil.rmtree(tree, ignore_errors=True)
    boot.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            f"--variant={VARIANT}",
            f"--include={','.join(PACKAGES)}",
            f"--customize-hook={CUSTOMIZE}",
            "bookworm",
            str(tree),
            os.environ.get("NETBOND_VM_MIRROR", MIRROR),
        ],
        check=True,
    )
    for name in ("vmlinuz", "initrd.img"):
        shutil.copyfile(tree / name, boot / name)
    unfinished = folder / "base.unfinished"
    subprocess.run(["truncate", "-s", SIZE, unfinished], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, unfinished], check=True)
    shutil.rmtree(tree)
    unfinished.rename(image)


# srt-tools, dnsmasq-base and ppp are the tests', the rest is as the page says.
INSTALL = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends python3-venv iproute2 nftables \\
    srt-tools dnsmasq-base ppp >/dev/null
python3 -m venv /opt/netbond
/opt/netbond/bin/pip install --quiet --disable-pip-version-check /root/netbond
ln -s /opt/netbond/bin/netbond /usr/local/bin/netbond
echo NETBOND=/opt/netbond/bin/netbond >/etc/default/netbond
cd /root/netbond
install -m 644 contrib/dhclient-hooks/netbond /etc/dhcp/dhclient-exit-hooks.d/netbond
install -m 644 contrib/systemd/netbond.service /etc/systemd/system/netbond.service
systemctl daemon-reload
rm /etc/network/interfaces.d/internet
"""


def make_box(folder: Path) -> None:
    """A box with netbond, installed as docs/install.md says; anew when the checkout has changed."""
    make_base(folder)
    image, stamp = folder / "box.qcow2", folder / "box.stamp"
    disc = checkout(folder)
    want = hashlib.sha256(disc.read_bytes()[512:]).hexdigest()
    if image.exists() and stamp.exists() and stamp.read_text() == want:
        return
    say("installing netbond on it, as docs/install.md says (some minutes)")
    stamp.unlink(missing_ok=True)
    image.unlink(missing_ok=True)
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", folder / "base.raw", image], check=True
    )
    with Machine(
        image, folder / "boot", folder / "install", internet=True, disks=[disc], persistent=True
    ) as box:
        trust(box)
        box.run(CLONE % {"folder": "/root/netbond"})
        status = box.log_job(INSTALL, timeout=1200)
        if status:
            raise MachineError(f"the installation failed; see {folder}/install/job.log")
        box.shut_down()
    stamp.write_text(want)


def main() -> int:
    """The command line."""
    what, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        {"base": make_base, "box": make_box}[what](folder)
    except (MachineError, subprocess.CalledProcessError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
