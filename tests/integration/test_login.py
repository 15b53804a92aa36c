"""Logging in with su(1) and sudo(8), for real: in a mount namespace with an /etc of its own, which has the users."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tiffin as package
from harness.leaks import wait_gone
from harness.terminal import Terminal
from integration.conftest import Runner

SCRIPT = """\
#!{base}/python/{python} -IS
import sys
sys.path.insert(0, "{base}/lib")
from tiffin.cli.main import main
sys.exit(main({words}sys.argv[1:]))
"""
# Nothing of the host's /etc, /run/sudo and /var/lib/sudo is written to.
SETUP = """
set -e
mount -t tmpfs -o mode=755 tmpfs {base}/etc
mkdir {base}/etc/upper {base}/etc/work
mount -t overlay -o lowerdir=/etc,upperdir={base}/etc/upper,workdir={base}/etc/work overlay /etc
mount --bind {source} {base}/lib
mount --rbind {python} {base}/python
for directory in /run/sudo /var/lib/sudo; do [ ! -d $directory ] || mount -t tmpfs tmpfs $directory; done
mkdir -p /etc/tiffin /etc/sudoers.d
cp {base}/login.toml /etc/tiffin/login.toml
echo 'ann:x:4711:4711::{base}/home/ann:{base}/bin/tiffin-login-shell' >> /etc/passwd
echo 'bob:x:4712:4712::{base}/home/bob:{base}/bin/tiffin-login-shell' >> /etc/passwd
printf 'ann:x:4711:\\nbob:x:4712:\\nworkers:x:4800:ann\\nothers:x:4801:bob\\n' >> /etc/group
printf 'ann:*:19000::::::\\nbob:*:19000::::::\\n' >> /etc/shadow
rm -f /etc/sudoers.d/*
echo '{who} ALL=(root) NOPASSWD: {base}/bin/tiffin login-shell --serve *' > /etc/sudoers.d/tiffin
exec "$@"
"""


class Host(NamedTuple):
    """Users who log in, and the store that root sees."""

    base: Path
    tiffin: Runner
    login: Callable[..., subprocess.CompletedProcess[str]]
    argv: Callable[..., list[str]]


@pytest.fixture
def host(tiffin: Runner, engine_root: str) -> Iterator[Host]:
    base = Path(tempfile.mkdtemp(prefix="tiffin-login-", dir="/var/tmp"))
    base.chmod(0o755)
    for name in ("bin", "etc", "home", "lib", "python"):
        (base / name).mkdir()
    for name, uid in (("ann", 4711), ("bob", 4712)):
        (base / "home" / name).mkdir(mode=0o700)
        os.chown(base / "home" / name, uid, uid)
    # Where this Python and these sources are, others than root need not be let in.
    python = os.path.relpath(os.path.realpath(sys.executable), sys.base_prefix)
    for name, words in (("tiffin", ""), ("tiffin-login-shell", '["login-shell"] + ')):
        script = base / "bin" / name
        script.write_text(SCRIPT.format(python=python, base=str(base), words=words))
        script.chmod(0o755)
    settings(base, engine_root)
    source = Path(package.__file__).parents[1]

    def argv(*words: str, who: str = "ann,bob") -> list[str]:
        setup = SETUP.format(base=base, source=source, python=sys.base_prefix, who=who)
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", setup, "login", *words]

    def login(*words: str, who: str = "ann,bob", input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv(*words, who=who), input=input, capture_output=True, text=True, timeout=60, check=False, cwd="/"
        )

    yield Host(base, tiffin, login, argv)
    names = tiffin.ok("ps", "-aq").split()
    if names:
        tiffin.ok("rm", "-f", *names)
    left = wait_gone(str(base))
    shutil.rmtree(base)
    assert left == []


def settings(base: Path, root: str, more: str = "") -> None:
    (base / "login.toml").write_text(f'root = "{root}"\n{more}')
    (base / "login.toml").chmod(0o644)


def test_a_login(host: Host) -> None:
    done = host.login("su", "-", "ann", "-c", "id -u; id -G; pwd; echo $HOME $USER $LOGNAME $SHELL; hostname")
    assert done.stderr == ""
    home = f"{host.base}/home/ann"
    assert done.stdout.splitlines() == [
        "4711", "4711 4800", home, f"{home} ann ann /bin/bash", os.uname().nodename,
    ]  # fmt: skip
    assert host.tiffin.ok("ps", "--format", "{{.Names}} {{.Image}}") == "login-ann host"
    # It is the user's own process, without rights, and in no namespace of the host's but the network.
    asked = "grep -h -e ^CapEff -e ^CapPrm /proc/self/status; readlink /proc/self/ns/pid; readlink /proc/self/ns/net"
    lines = host.login("su", "ann", "-c", asked).stdout.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["0" * 16] * 2
    assert lines[2] != os.readlink("/proc/self/ns/pid") and lines[3] == os.readlink("/proc/self/ns/net")


def test_it_is_the_same_container_the_next_time(host: Host) -> None:
    assert host.login("su", "-", "ann", "-c", "echo kept > /tmp/note; echo home > note").returncode == 0
    first = host.tiffin.ok("ps", "-q")
    assert host.login("su", "-", "ann", "-c", "cat /tmp/note note").stdout == "kept\nhome\n"
    assert host.login("su", "-", "bob", "-c", "cat /tmp/note").returncode == 1, "bob has his own"
    note = host.base / "home/ann/note"
    assert note.read_text() == "home\n" and note.stat().st_uid == 4711
    assert not os.path.exists("/tmp/note")
    assert sorted(host.tiffin.ok("ps", "--format", "{{.Names}}").split()) == ["login-ann", "login-bob"]
    host.tiffin.ok("stop", "-t", "0", "login-ann")
    assert host.login("su", "-", "ann", "-c", "echo again").stdout == "again\n"
    assert first in host.tiffin.ok("ps", "-q").split()


def test_input_output_and_exit_code(host: Host) -> None:
    """As ssh does it with a command, and scp with its helper."""
    done = host.login("su", "ann", "-c", "cat; echo err >&2; exit 7", input="through\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "through\n", "err\n")
    assert host.login("su", "ann", "-c", "kill -TERM $$").returncode == 143
    odd = """printf '%s|' "$0" "$@" '--root=/x'"""
    assert host.login("su", "-c", odd, "ann", "--", "zero", "-c", "two words").stdout == "zero|-c|two words|--root=/x|"
    # A shell that reads commands, without a terminal.
    assert (
        host.login("su", "-", "ann", input="echo $((6*7)); shopt -q login_shell && echo login\n").stdout
        == "42\nlogin\n"
    )


def test_at_a_terminal(host: Host) -> None:
    (host.base / "home/ann/.bash_profile").write_text("PS1='at> '\n")
    with Terminal(host.argv("su", "-", "ann"), size=(33, 101), timeout_s=60) as screen:
        screen.expect("at> ")
        screen.send("stty size; tty\n")
        screen.expect("33 101")
        screen.expect("/dev/pts/")
        screen.send("\x10\x11")  # Docker's detach keys mean nothing here
        # What they did to the line is taken back; and it must be the program that is interrupted, not the typing.
        screen.send("\x15echo be''gun; sleep 60\n")
        screen.expect("begun")
        screen.send("\x03")
        screen.expect("at> ")
        screen.send("exit 5\n")
        assert screen.wait() == 5


def test_the_last_session_can_end_it(host: Host, engine_root: str) -> None:
    settings(host.base, engine_root, 'stop = "last"\n')
    running = subprocess.Popen(
        host.argv("su", "-", "ann", "-c", "echo in; read line"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )
    assert running.stdout and running.stdout.readline() == b"in\n"
    assert host.login("su", "-", "ann", "-c", "true").returncode == 0
    assert host.tiffin.ok("ps", "--format", "{{.Names}}") == "login-ann", "another session is there"
    running.communicate(b"\n", timeout=30)
    assert host.tiffin.ok("ps", "-q") == ""
    assert host.tiffin.ok("ps", "-a", "--format", "{{.Names}} {{.State}}") == "login-ann exited"


def test_settings_of_a_user(host: Host, engine_root: str, busybox: str) -> None:
    (host.base / "shared").mkdir()
    more = f'''
        mounts = ["{host.base}/shared:/shared:ro"]
        [users.bob]
        image = "busybox"
        shell = "/bin/sh"
        network = "none"
    '''
    settings(host.base, engine_root, more)
    done = host.login(
        "su", "-", "bob", "-c", "id -u; id -G; busybox | head -c 7; echo; ls /sys/class/net; touch /shared/x"
    )
    assert done.stdout.splitlines() == ["4712", "4712 4801", "BusyBox", "lo"]
    assert done.stderr == "touch: /shared/x: Read-only file system\n"


def test_what_is_refused(host: Host, engine_root: str) -> None:
    # Nobody gets further than sudo lets them, and the arguments cannot choose who one is.
    assert host.login("su", "-", "ann", "-c", "true", who="bob").stderr.splitlines()[-1].startswith("sudo: ")
    sudo = f"sudo -n {host.base}/bin/tiffin"
    for words in ("ps", f"--root {engine_root} login-shell --serve -l", "login-shell -l", "login-shell --serve"):
        refused = host.login("su", "-s", "/bin/sh", "ann", "-c", f"{sudo} {words}")
        assert refused.returncode == 1 and refused.stderr.startswith("sudo: "), words
    forged = host.login("su", "-s", "/bin/sh", "ann", "-c", f"SUDO_UID=4712 {sudo} login-shell --serve -c 'id -u'")
    assert forged.stdout == "4711\n"
    unknown = host.login("su", "-s", "/bin/sh", "ann", "-c", f"{sudo} login-shell --serve --user=0 -c id")
    assert unknown.stderr.startswith("tiffin: unknown flag: --user")
    # As root without sudo.
    assert host.tiffin("login-shell") == (
        125, "", "tiffin: login-shell is for users without rights\nleave root's shell as it is\n",
    )  # fmt: skip
    assert host.tiffin("login-shell", "--serve", "-l") == (
        125, "", "tiffin: --serve is for sudo, which says who calls it\nsee docs/LOGIN.md\n",
    )  # fmt: skip
    unprivileged = ("su", "-s", "/bin/sh", "ann", "-c", f"{host.base}/bin/tiffin login-shell --serve -l")
    assert host.login(*unprivileged).stderr == "tiffin: --serve is for sudo, which runs it as root\nleave it out\n"
    # Somebody else's container of that name.
    host.tiffin.ok("rm", "-f", "login-ann")
    host.tiffin.ok("create", "--name", "login-ann", "host", "true")
    taken = host.login("su", "-", "ann", "-c", "true")
    assert (taken.returncode, taken.stderr) == (
        125,
        "tiffin: container 'login-ann' was not made for ann (user ID 4711)\n"
        "remove or rename it: `tiffin rm login-ann`\n",
    )


def test_settings_that_others_could_write(host: Host) -> None:
    (host.base / "login.toml").chmod(0o666)
    assert host.login("su", "-", "ann", "-c", "true").returncode == 0, "cp has made it root's"
    chmod = 'chmod 666 /etc/tiffin/login.toml; exec su - ann -c "true"'
    assert host.login("sh", "-c", chmod).stderr == (
        "tiffin: /etc/tiffin/login.toml is not a file that only root can write\n"
        "chown root /etc/tiffin/login.toml; chmod 644 /etc/tiffin/login.toml\n"
    )


def test_what_a_user_brings_along_harms_nobody(host: Host) -> None:
    """umask and limits of a session come through sudo to what runs as root."""
    shell = f"{host.base}/bin/tiffin-login-shell"
    host.login("su", "-s", "/bin/sh", "ann", "-c", f"umask 777; ulimit -f 0; exec {shell} -c true")
    look = "umask; stat -c %a / /etc/hosts; cat /etc/hosts >/dev/null && echo read"
    for who, before in (("ann", "umask 777; "), ("bob", "")):
        done = host.login("su", "-s", "/bin/sh", who, "-c", f"{before}exec {shell} -c '{look}'")
        assert (done.stdout.split(), done.stderr) == (["0022", "755", "644", "read"], "")


def test_a_terminals_keys_do_not_stop_what_runs_as_root(host: Host) -> None:
    """Stopped in the wrong moment it would hold a lock of the store, and nobody could log in."""
    running = subprocess.Popen(
        host.argv("su", "ann", "-c", "grep SigIgn /proc/self/status; read line"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    assert running.stdout
    assert int(running.stdout.readline().split()[1], 16) == 0, "the user's shell can be stopped"
    serving = [
        Path(f"/proc/{name}/status").read_text()
        for name in os.listdir("/proc")
        if name.isdigit() and f"{host.base}/bin/tiffin\0login-shell\0--serve" in _words_of(name)
    ]
    ignored = [int(text.partition("SigIgn:")[2].split()[0], 16) for text in serving if "\nUid:\t0\t" in text]
    running.communicate(b"\n", timeout=30)
    stops = sum(1 << (number - 1) for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
    assert [bits & stops for bits in ignored if bits & stops] == [stops]


def _words_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
