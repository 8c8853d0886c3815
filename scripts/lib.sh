# shellcheck shell=bash
# Functions for the other scripts: install what is missing, and report it; quick if nothing is missing.
# Source this file with `set -euo pipefail`, from the checkout's root.

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# need_programs PROGRAM=PACKAGE...: install the packages of the programs that are missing (Debian, root only).
need_programs() {
    local pair missing=() packages=()
    for pair in "$@"; do
        if ! command -v "${pair%%=*}" >/dev/null && ! [ -x "/usr/sbin/${pair%%=*}" ]; then
            missing+=("${pair%%=*}")
            packages+=("${pair#*=}")
        fi
    done
    [ ${#missing[@]} = 0 ] && return 0
    is_root || die "these programs are missing: ${missing[*]}; install them: sudo apt-get install ${packages[*]}"
    command -v apt-get >/dev/null || die "these programs are missing: ${missing[*]}; install them and try again"
    say "installing with apt: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# need_idle PROGRAM=PACKAGE=UNIT...: as need_programs, for packages with a service that must not run here. A running
# NetworkManager would take over the machine's own interfaces, now or at the next boot.
need_idle() {
    local policy=/usr/sbin/policy-rc.d triple program rest programs=() units=() status=0
    for triple in "$@"; do
        program=${triple%%=*} rest=${triple#*=}
        if ! command -v "$program" >/dev/null && ! [ -x "/usr/sbin/$program" ]; then
            programs+=("$program=${rest%%=*}")
            units+=("${rest#*=}")
        fi
    done
    [ ${#programs[@]} = 0 ] && return 0
    # Debian asks policy-rc.d whether a package may start its service; exit status 101 means no.
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        "$policy" "${units[0]}" start >/dev/null 2>&1 || status=$?
        [ "$status" = 101 ] || die "$policy would let ${units[*]} start; install ${programs[*]#*=} by hand, make sure that" \
            "they do not start, and try again"
        need_programs "${programs[@]}"
    else
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\n# From scripts/test of netbond, for one installation; if it is still here, delete it.\nexit 101\n' \
            >"$policy"
        chmod 755 "$policy"
        need_programs "${programs[@]}"
        rm -f "$policy"
        trap - EXIT
    fi
    say "disabled at boot: ${units[*]} (to undo: systemctl enable ${units[*]})"
    systemctl --quiet disable "${units[@]}" >/dev/null 2>&1 || die "cannot disable ${units[*]}; do it before the next boot"
}

# Print the path of the header that extensions of Python in C need; the file may be missing.
python_headers() {
    local python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")'
}

# need_python: set $python to Python 3.11 or newer that can make virtual environments, or say what to install.
need_python() {
    need_programs python3=python3
    # Prefer the system's own Python: engines run without root, and could not read a Python under /root (pyenv).
    python=/usr/bin/python3
    [ -x "$python" ] || python=$(command -v python3)
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || die "Python 3.11 or newer is needed, $python is $("$python" -V)"
    if is_root && command -v apt-get >/dev/null && ! "$python" -c 'import ensurepip' 2>/dev/null; then
        say "installing with apt: python3-venv"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    fi
}

# make_venv FOLDER: make a virtual environment there with $python. One that another Python has made (the system was
# upgraded, and got a newer one) is made anew: its packages are for the old one.
make_venv() {
    local folder=$1
    "$folder/bin/python" -c 'import pip' 2>/dev/null && return 0
    [ ! -e "$folder/pyvenv.cfg" ] || say "$folder is not for $("$python" -V), the Python of this machine: making it anew"
    "$python" -m venv --clear "$folder"
}

# pip_install FOLDER WORD...: install into the virtual environment there. Retry: if a package index fails for a moment,
# pip reports that a package does not exist.
pip_install() {
    local folder=$1 try
    shift
    for try in 1 2 3; do
        "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" && return 0
        [ "$try" = 3 ] && die "the packages could not be installed; check the network and try again"
        say "pip failed; trying again in $((try * 10)) s"
        sleep $((try * 10))
    done
}

# need_venv EXTRA: make a virtual environment in .venv with netbond and its dependencies (EXTRA: "" or "test").
# Update it if its sources, Python or the compiler have changed.
need_venv() {
    local extra=$1 stamp=".venv/netbond-stamp-${1:-run}" want python
    need_python
    want="$("$python" -V) $(cksum pyproject.toml hatch_build.py scripts/netbond netbond/srtla/*.py netbond/srtla/*/*.c netbond/srtla/*/*.py) $PWD"
    want+=" $(command -v cc || true) $(ls "$(python_headers)" 2>/dev/null || true)"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && return 0
    say "preparing the virtual environment in .venv"
    make_venv .venv
    pip_install .venv -e ".${extra:+[$extra]}"
    printf '%s' "$want" >"$stamp"
}
