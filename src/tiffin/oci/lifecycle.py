"""create, start, kill, delete: a container's life (runtime-spec runtime.md, "Lifecycle")."""

from __future__ import annotations

import os

from tiffin.errors import ConflictError, HostError, NotFoundError, TiffinError, UsageError
from tiffin.model.record import Record
from tiffin.oci import bundle as bundles
from tiffin.oci import cgroups, hooks, launch
from tiffin.oci.compile import HOOK_STATE_CREATED, HOOK_STATE_CREATING, Bundle, compile_create
from tiffin.oci.process import confinement, known_capabilities
from tiffin.oci.state import CREATED, CREATING, PAUSED, RUNNING, STOPPED, Stored
from tiffin.runtime.compile import Confinement
from tiffin.runtime.ops import Plan
from tiffin.runtime.security.capabilities import host_bounding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIGKILL = 9
_END_DEADLINE_S = 10.0


class Request(Record):
    """What `create` and `run` are asked for."""

    root: str
    id: str
    bundle: str = "."
    console_socket: str = ""
    pid_file: str = ""
    preserve_fds: int = 0
    detached: bool = True


class Runtime:
    """One command's view of the runtime: where the state is, and whom to warn."""

    def __init__(self, root: str, warn: Callable[[str], None]) -> None:
        self.root = root
        self.warn = warn

    def load(self, container_id: str) -> Stored:
        return Stored.load(self.root, container_id)

    # create

    def create(self, request: Request) -> Stored:
        """Make a container whose program waits. Nothing is left behind when it fails."""
        stored = Stored(self.root, request.id)
        path = os.path.abspath(request.bundle)
        config = bundles.load_bundle(path)
        rootfs = bundles.root_path(config, path)
        self._check_terminal(config, request)
        place = cgroups.place(config["linux"].get("cgroupsPath", ""), request.id)
        stored.make()
        stored.facts = {
            "id": request.id,
            "ociVersion": config["ociVersion"],
            "bundle": path,
            "rootfs": rootfs,
            "annotations": config["annotations"],
            "created": now(),
            "cgroup": place,
            "made": [],
            "namespaces": [entry["type"] for entry in config["linux"]["namespaces"]],
            "pid": 0,
            "creator": [os.getpid(), _own_start()],
        }
        entered = False
        try:
            stored.save()
            stored.save_config(config)
            stored.make_fifos()
            plan = self._prepare(stored, config, request)
            entered = True
            self._launch(stored, config, plan, request)
        except BaseException:
            self._undo(stored, config, with_hooks=entered)
            raise
        return stored

    def _check_terminal(self, config: dict[str, Any], request: Request) -> None:
        terminal = config.get("process", {}).get("terminal", False)
        if terminal and request.detached and not request.console_socket:
            raise UsageError("cannot allocate a terminal: the container is detached and there is no --console-socket")
        if not terminal and request.console_socket:
            raise UsageError("a --console-socket is of no use: the container's process.terminal is false")

    def _prepare(self, stored: Stored, config: dict[str, Any], request: Request) -> Plan:
        process = config.get("process")
        confined = Confinement()
        if process:
            known_capabilities(process, host_bounding(), self.warn)
            confined = confinement(config, process, f"{self.root}/.cache")
            listen = listen_fds(process)
            request = request.replace(preserve_fds=request.preserve_fds + listen)
        place = stored.cgroups()
        cgroup, stored.facts["made"] = place.create(config["linux"]["resources"])
        stored.save()
        return compile_create(
            config,
            Bundle(
                path=stored.facts["bundle"],
                root=stored.facts["rootfs"],
                root_parent_mount=mount_of(stored.facts["rootfs"]),
                start_fifo=stored.start_fifo,
                result_fifo=stored.result_fifo,
                passed_fds=request.preserve_fds,
            ),
            cgroup=cgroup,
            cgroups=place,
            confinement=confined,
            warn=self.warn,
        )

    def _launch(self, stored: Stored, config: dict[str, Any], plan: Plan, request: Request) -> None:
        wanted = config["hooks"]
        inside = wanted.get("createContainer") or wanted.get("startContainer")
        outside = wanted.get("prestart") or wanted.get("createRuntime")
        passed = next((int(str(fields[0])) for name, fields, _ in plan if name == "PASS_FDS"), 0)
        launched = launch.Launched(plan, ["create"], passed, pipes=bool(inside or outside))
        try:
            problem: TiffinError | None = None
            while words := launched.channel.line():
                if words[0] == "H":
                    problem = self._hooks(stored, wanted, launched, int(words[1]))
                elif words[0] == "S":
                    stored.facts["pid"], stored.facts["pid_start"] = int(words[1]), int(words[2])
                    stored.facts["late"] = launch.late_operations(plan)
                    launched.put_state(HOOK_STATE_CREATED, stored_json(stored, CREATED))
                    if launched.channel.master >= 0 and request.console_socket:
                        launch.hand_over(launched.channel.master, request.console_socket)
                    elif launched.channel.master >= 0:
                        stored.master = launched.channel.take_master()
                    stored.save()
                    if request.pid_file:
                        launch.write_pid(request.pid_file, stored.pid)
                    return
                else:
                    break
            raise problem or launch.failure(words, plan)
        finally:
            launched.close()
            launched.reap()

    def _hooks(self, stored: Stored, wanted: dict[str, Any], launched: launch.Launched, pid: int) -> TiffinError | None:
        stored.facts["pid"] = pid
        state = stored_json(stored, CREATING)
        stored.facts["pid"] = 0
        launched.put_state(HOOK_STATE_CREATING, state)
        try:
            for kind in ("prestart", "createRuntime"):
                hooks.run(kind, wanted.get(kind, ()), state, stored.facts["bundle"])
        except TiffinError as error:
            launched.hooks_failed()
            return error
        launched.hooks_done()
        return None

    def _undo(self, stored: Stored, config: dict[str, Any], *, with_hooks: bool) -> None:
        """After a failed `create`: no process, no cgroup, no state; who came before us hears that it is over."""
        try:
            if stored.alive():
                kill_process(stored, SIGKILL)
            self._destroy(stored, config, with_hooks=with_hooks)
        except (TiffinError, OSError) as error:
            self.warn(f"cannot clean up after a failed create: {error}")

    # start

    def start(self, stored: Stored) -> None:
        """Run the program of a created container, and the poststart hooks."""
        with stored.locked():
            config = self._release(stored)
        wanted = config["hooks"].get("poststart", ())
        if wanted:
            # As it was when the program began, which may have ended since.
            state = stored_json(stored, RUNNING)
            hooks.run_all("poststart", wanted, state, stored.facts["bundle"], self.warn)

    def _release(self, stored: Stored) -> dict[str, Any]:
        status = stored.status()
        if status != CREATED:
            if status == STOPPED:
                raise ConflictError("cannot start a container that has stopped")
            raise ConflictError(f"cannot start a container in the {status} state")
        config = stored.config()
        if "process" not in config:
            # What waits there has nothing to wait for any more.
            kill_process(stored, SIGKILL)
            raise ConflictError("cannot start a container whose config has no process")
        launch.start(stored.start_fifo, stored.result_fifo, launch.late_plan(stored.facts["late"]))
        return config

    # kill and delete

    def kill(self, stored: Stored, number: int, *, everybody: bool = False) -> None:
        """Send a signal to the first process, or to all."""
        status = stored.status()
        if everybody:
            for pid in stored.cgroups().processes():
                send(pid, number)
            return
        if status not in (CREATED, RUNNING, PAUSED):
            raise ConflictError("container not running")
        kill_process(stored, number)
        if number == SIGKILL:
            if "pid" not in stored.facts["namespaces"]:
                # Nobody but us ends the others.
                stored.cgroups().kill(f"the container {stored.id}")
            elif status == PAUSED:
                driver, name = stored.cgroups().driver()
                driver.thaw(name)

    def delete(self, container_id: str, *, force: bool) -> None:
        """Remove a stopped container; with `force` any, and none is fine too."""
        try:
            stored = self.load(container_id)
        except NotFoundError:
            if not force:
                raise
            _remove_unfinished(f"{self.root}/{container_id}")
            return
        status = stored.status()
        if status != STOPPED and not force:
            raise ConflictError(f"cannot delete container {container_id} that is not stopped: {status}")
        if status != STOPPED:
            self._end(stored)
        self._destroy(stored, stored.config(), with_hooks=True)

    def _end(self, stored: Stored) -> None:
        if stored.alive():
            kill_process(stored, SIGKILL)
        stored.cgroups().kill(f"the container {stored.id}")
        wait_for_end(stored)

    def _destroy(self, stored: Stored, config: dict[str, Any], *, with_hooks: bool) -> None:
        place = stored.cgroups()
        if stored.facts["made"]:
            place.kill(f"the container {stored.id}")
        cgroups.remove(stored.facts["made"])
        state = stored_json(stored, STOPPED)
        bundle = stored.facts["bundle"]
        stored.remove()
        if with_hooks:
            where = bundle if os.path.isdir(bundle) else "/"
            hooks.run_all("poststop", config["hooks"].get("poststop", ()), state, where, self.warn)

    # pause, resume

    def pause(self, stored: Stored) -> None:
        status = stored.status()
        if status not in (RUNNING, CREATED):
            raise ConflictError(f"cannot pause a container in the {status} state")
        driver, name = stored.cgroups().driver()
        driver.freeze(name)

    def resume(self, stored: Stored) -> None:
        if stored.status() != PAUSED:
            raise ConflictError("container not paused")
        driver, name = stored.cgroups().driver()
        driver.thaw(name)


def stored_json(stored: Stored, status: str) -> bytes:
    """The state that hooks read."""
    import json

    shown = stored.shown(status)
    wanted = ("ociVersion", "id", "status", "pid", "bundle", "annotations")
    return json.dumps({key: shown[key] for key in wanted if key in shown}).encode()


def listen_fds(process: dict[str, Any]) -> int:
    """The descriptors of socket activation (sd_listen_fds(3)), which are handed on without being asked for."""
    try:
        count = int(os.environ.get("LISTEN_FDS", "0"))
    except ValueError:
        return 0
    if count <= 0:
        return 0
    process["env"] += [f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    if "LISTEN_FDNAMES" in os.environ:
        process["env"].append(f"LISTEN_FDNAMES={os.environ['LISTEN_FDNAMES']}")
    return count


def kill_process(stored: Stored, number: int) -> None:
    """Signal the first process and nobody who got its number since."""
    from signal import pidfd_send_signal

    try:
        fd = os.pidfd_open(stored.pid)
    except ProcessLookupError:
        return
    try:
        if stored.alive():
            pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    except OSError as error:
        raise HostError(f"cannot send signal {number} to process {stored.pid}: {error.strerror}") from error
    finally:
        os.close(fd)


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def wait_for_end(stored: Stored) -> None:
    """Wait until a killed first process is gone, or a zombie of somebody else's."""
    import time

    deadline = time.monotonic() + _END_DEADLINE_S
    pause_s = 0.0005
    while stored.alive():
        if time.monotonic() > deadline:
            raise HostError(f"cannot kill process {stored.pid} of the container {stored.id}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.02)


def mount_of(path: str) -> str:
    """Where the file system that holds `path` is mounted."""
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def now() -> str:
    """This moment as RFC 3339 has it, with microseconds."""
    import time

    ns = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09}Z"


def _own_start() -> int:
    from tiffin.oci.state import process_start

    return process_start(os.getpid())


def _remove_unfinished(directory: str) -> None:
    """What a `create` that was killed at its very beginning may leave: no process yet, and no cgroup."""
    try:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
