"""`login-shell`: a user's shell that is in the user's own container.

It runs twice. As the user, from su, sshd or login, it can do nothing and executes sudo(8), whose rule allows exactly
one command. As root, behind that rule, it takes the user from SUDO_UID, which sudo sets itself, and from nowhere else:
the arguments are words for a shell that runs as that user, whatever is in them.
"""

from __future__ import annotations

import fcntl
import os
import sys

from tiffin.cli import login_config
from tiffin.cli.options import Option, Verb
from tiffin.errors import ConflictError, HostError, NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pwd import struct_passwd
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.login_config import LoginConfig
    from tiffin.cli.options import Parsed
    from tiffin.engine import Engine

SUDO = "/usr/bin/sudo"
LABEL = "tiffin.login"
# Of sudo's environment, what tells of the user's terminal and language; the rest is made anew.
_KEPT = ("TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ")


def _login_shell(context: Context, parsed: Parsed) -> int:
    words = _words(parsed)
    if parsed.flag("serve"):
        return _serve(context, words)
    if os.geteuid() == 0:
        raise UsageError("login-shell is for users without rights", hint="leave root's shell as it is")
    # Beside the script that su or sshd was told, which is where the rule for sudo says that it is.
    tiffin = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "tiffin")
    try:
        os.execv(SUDO, [SUDO, "-n", "--", tiffin, "login-shell", "--serve", *_rule_words(words, parsed)])
    except OSError as error:
        raise HostError(
            f"cannot execute {SUDO}: {error.strerror}",
            hint="login-shell needs sudo and a rule for it, see docs/LOGIN.md",
        ) from error


def _words(parsed: Parsed) -> list[str]:
    """The shell's own options and arguments; there is always one, since the rule for sudo says so."""
    command = parsed.text("command")
    words = ["-l"] if parsed.flag("login") or (command is None and not parsed.arguments) else []
    return [*words, *(["-c", command] if command is not None else []), *parsed.arguments]


def _rule_words(words: list[str], parsed: Parsed) -> list[str]:
    """The same in a form that reads as the same again: arguments may look like options."""
    count = len(parsed.arguments)
    return [*words[: len(words) - count], "--", *parsed.arguments] if count else words


def _serve(context: Context, words: list[str]) -> int:
    user = _user()
    _leave_the_session()
    config = login_config.read(user.pw_name)
    if context.root is None:
        context.root = config.root or None
        context.storage = config.storage or None
    name = container_name(user.pw_name, user.pw_uid)
    with Session(f"{context.engine.run_root}/login/{name}") as session:
        ensure(context.engine, name, user, config)
        code = _run(context.engine, name, user, config, words)
        if config.stop == "last" and session.is_last():
            context.engine.stop(name)
        return code


def _leave_the_session() -> None:
    """Be rid of what sudo lets through of the user's: nobody else may wait for, or live with, what one user chose.

    A terminal's Ctrl-Z would stop us with the store's lock in our hands, whoever we run as.
    """
    import signal

    os.umask(0o022)
    for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    for name in [name for name in os.environ if name.startswith("TIFFIN_")]:
        del os.environ[name]


def _user() -> struct_passwd:
    """Who called sudo. UsageError when nobody did, or root."""
    if os.geteuid() != 0:
        raise UsageError("--serve is for sudo, which runs it as root", hint="leave it out")
    import pwd

    text = os.environ.get("SUDO_UID", "")
    if not text.isdigit() or int(text) == 0:
        raise UsageError("--serve is for sudo, which says who calls it", hint="see docs/LOGIN.md")
    try:
        return pwd.getpwuid(int(text))
    except KeyError:
        raise UsageError(f"there is no user with the ID {text}") from None


def container_name(user: str, uid: int) -> str:
    """ "login-USER", or "login-UID" for a name that a container cannot have."""
    from tiffin.containers.names import ALLOWED

    return f"login-{user if ALLOWED.issuperset(user) and len(user) < 200 else uid}"


class Session:
    """One of a user's logins: a shared lock on a file while it lasts."""

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Session:
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        return self

    def is_last(self) -> bool:
        """Whether no other is left; one that comes now waits until the lock is given up."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def ensure(engine: Engine, name: str, user: struct_passwd, config: LoginConfig) -> None:
    """Have the user's container running; made at the first login. ConflictError for one that is another's."""
    owner = f"{user.pw_name}:{user.pw_uid}"
    try:
        found = engine.container(name).container
    except NotFoundError:
        try:
            found = engine.create(_container(name, owner, user, config))
        except ConflictError:
            found = engine.container(name).container  # another login was faster
    if dict(found.labels).get(LABEL) != owner:
        raise ConflictError(
            f"container {name!r} was not made for {user.pw_name} (user ID {user.pw_uid})",
            hint=f"remove or rename it: `tiffin rm {name}`",
        )
    engine.start(found.id)


def _container(name: str, owner: str, user: struct_passwd, config: LoginConfig) -> Any:
    from tiffin.cli import mount_options
    from tiffin.model.container import ContainerConfig, Mount

    mounts = []
    for text in config.mounts:
        try:
            mounts.append(mount_options.volume(text))
        except ValueError as error:
            raise UsageError(f"{login_config.PATH}: mount {text!r}: {error}") from None
    home = os.path.normpath(user.pw_dir)
    if _has_home(user) and all(os.path.normpath(mount.target) != home for mount in mounts):
        mounts.append(Mount(type="bind", source=home, target=home))
    command = config.command
    # Somebody has to reap what users leave behind; an init does so itself.
    reaped = command[0].rpartition("/")[2] not in ("init", "systemd")
    return ContainerConfig(
        image=config.image, command=command, name=name, mounts=tuple(mounts), network=config.network, init=reaped,
        labels=((LABEL, owner),),
    )  # fmt: skip


def _has_home(user: struct_passwd) -> bool:
    return os.path.normpath(user.pw_dir) != "/" and user.pw_dir.startswith("/") and os.path.isdir(user.pw_dir)


def _run(engine: Engine, name: str, user: struct_passwd, config: LoginConfig, words: list[str]) -> int:
    home = os.path.normpath(user.pw_dir) if _has_home(user) else "/"
    env = [f"HOME={home}", f"USER={user.pw_name}", f"LOGNAME={user.pw_name}", f"SHELL={config.shell}"]
    env += [f"{key}={value}" for key, value in os.environ.items() if key in _KEPT or key.startswith("LC_")]
    details: dict[str, Any] = {
        "user": f"{user.pw_uid}:{user.pw_gid}",
        "groups": [str(gid) for gid in os.getgrouplist(user.pw_name, user.pw_gid) if gid != user.pw_gid],
        "workdir": home,
        "env": env,
    }
    command = [config.shell, *words]
    if not (os.isatty(0) and os.isatty(1)):
        from tiffin.cli.plumbing import run_plumbed

        return run_plumbed(
            lambda stdin, stdout, stderr: engine.exec(
                name, command, stdin=stdin, stdout=stdout, stderr=stderr, **details
            ),
            interactive=True,
        )
    from tiffin.cli import foreground
    from tiffin.cli.relay import TerminalChannel

    with engine.exec(name, command, tty=True, tty_size=foreground.terminal_size(), **details) as session:
        outcome = foreground.attend(
            TerminalChannel(session.master, session.resize, session.fileno()),
            tty=True,
            streams=frozenset(("stdin", "stdout")),
            keys=b"",
            forward=session.signal,
            name=name,
        )
        return foreground.READER_GONE if outcome.reader_gone else session.wait()


LOGIN_SHELL = Verb(
    name="login-shell",
    summary="Be the shell of a user, in a container of the user's own",
    run=_login_shell,
    arguments="[ARG...]",
    maximum=None,
    options=(
        Option(name="command", short="c", word="command", help="Run this instead of reading commands"),
        Option(name="login", short="l", kind="bool", help="Read the profile, as at a login; so it does without -c"),
        Option(name="serve", kind="bool", help="The part that sudo runs as root"),
    ),
    interspersed=False,
    container_codes=True,
    failed=125,
    description="For /etc/passwd, where it is called tiffin-login-shell. The container login-USER is made of the image "
    f"host, or what {login_config.PATH} says, at the first login, with the user's home directory, and stays. It needs "
    "a rule for sudo, see docs/LOGIN.md.",
    examples=(
        ("tiffin login-shell -c 'make -C ~/project'", "what `ssh HOST COMMAND` comes to"),
        ("tiffin rm -f login-alice; tiffin login-shell", "have a new container made, and be in it"),
    ),
)
