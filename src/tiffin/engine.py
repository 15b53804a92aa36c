"""The engine: one typed method per use case. Front doors parse and print; everything they can do is here."""

from __future__ import annotations

from tiffin.engine_events import Observation
from tiffin.engine_files import ContainerFiles
from tiffin.engine_images import Images
from tiffin.engine_lifecycle import Lifecycle
from tiffin.engine_pods import Pods
from tiffin.engine_registries import Registries
from tiffin.engine_volumes import Volumes
from tiffin.errors import ConflictError
from tiffin.model.container import Container, ContainerConfig, ContainerInfo, RestartPolicy
from tiffin.model.resources import LimitWrite, Resources
from tiffin.parts import Parts
from tiffin.paths import DEFAULT_CGROUP_PARENT
from tiffin.state import containers as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Self

    from tiffin.containers.execute import ExecSession
    from tiffin.containers.logs import LogLine
    from tiffin.containers.processes import ProcessTable
    from tiffin.containers.result import Result
    from tiffin.model.image import Image
    from tiffin.model.volume import Volume
    from tiffin.runtime.attach import Attachment
    from tiffin.system.prune import Pruned, PrunePlan


NO_CHANGE = Resources()


def _warn(message: str) -> None:
    import warnings

    warnings.warn(message, RuntimeWarning, stacklevel=4)


class Engine(Images, Registries, ContainerFiles, Lifecycle, Pods, Volumes, Observation):
    """A store of images and the containers made from them.

    Use it as a context manager, or `close()` it. Any number of engines, threads and processes may work on the same
    root at once; engines on different roots never meet. Every method raises `TiffinError`'s kinds (see `errors`) and
    says below which ones to expect; `StoreError` (disk full, read-only, damage) can come from all of them.

    `root` holds everything that survives a reboot (default: $TIFFIN_ROOT, else /var/lib/tiffin), `run_root` the rest
    (default: /run/tiffin, or `run` in a root of one's own). `storage` names the driver for new containers
    ("composefs", "overlay"; default: the best that works here). `cgroup_parent` is the cgroup above the containers'.
    `userns` is the user namespace of new containers that ask for none ("auto"; default: $TIFFIN_USERNS, else "host").
    `runtime` runs new containers: "native" (default: $TIFFIN_RUNTIME, else this), "crun", "runc", or a path.
    `cdi_dirs` hold descriptions of devices, later ones before earlier ones (default: $TIFFIN_CDI_DIRS, separated by
    colons, else /etc/cdi and /var/run/cdi).
    `debug` receives specs, plans and timings as text, `warn` what could not be given (default: Python's warnings).
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        run_root: str | None = None,
        storage: str | None = None,
        cgroup_parent: str = DEFAULT_CGROUP_PARENT,
        debug: Callable[[str], None] | None = None,
        warn: Callable[[str], None] = _warn,
        userns: str | None = None,
        runtime: str | None = None,
        cdi_dirs: Sequence[str] | None = None,
    ) -> None:
        self._parts = Parts(root, run_root, storage, cgroup_parent, debug, warn, userns, runtime, cdi_dirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; containers run on, and the engine is of no further use."""
        self._parts.close()

    @property
    def root(self) -> str:
        """The directory that everything is kept in."""
        return self._parts.paths.root

    @property
    def run_root(self) -> str:
        """The directory of what does not survive a reboot."""
        return self._parts.paths.run

    # Containers

    def create(self, config: ContainerConfig) -> Container:
        """Make a container; nothing runs yet.

        UsageError for a config that cannot work, NotFoundError for the image, ConflictError for a name in use.
        """
        from tiffin.containers import create, end

        end.finish_removals(self._parts)
        return create.create(self._parts, config)

    def start(
        self,
        container: str,
        *,
        attach: bool = False,
        tty_size: tuple[int, int] | None = None,
        pass_fds: Sequence[int | tuple[str, int]] = (),
    ) -> Attachment | None:
        """Start a container; one that runs is left alone, unless `attach` is asked (ConflictError).

        With `attach` its input and output from the very first byte; whoever asked then removes the container after
        its end if its config says `auto_remove`, and says so by `Attachment.acknowledge()`. `tty_size` is rows and
        columns. `pass_fds` are descriptors that the program finds from 3 on; as pairs of a name and a number it is
        told of them in LISTEN_FDS and so on. CommandNotFound, CommandNotExecutable, LaunchError, HostError.
        """
        from tiffin.containers import start

        found = self._get(container)
        return start.start(self._parts, found, attach=attach, tty_size=tty_size, pass_fds=pass_fds)

    def run(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        input: bytes | None = None,
        timeout_s: float | None = None,
        auto_remove: bool = True,
        **options: Any,
    ) -> Result:
        """Run a command in a new container to its end and return what it wrote.

        `options` are fields of `ContainerConfig`; `input` is its standard input (None: empty). Raises as `create`
        and `start`; ConflictError when it was killed because it still ran after `timeout_s`.
        """
        from tiffin.containers.command import words
        from tiffin.containers.run import run

        config = ContainerConfig(image=image, command=words(command), auto_remove=auto_remove, **options)
        return run(self._parts, config, input=input, timeout_s=timeout_s)

    def container(self, reference: str) -> ContainerInfo:
        """A container and its state, by name, ID or unique ID prefix. NotFoundError, AmbiguousError."""
        from tiffin.containers import pause

        container = self._get(reference)
        state = pause.read_state(self._parts, container.id)
        return ContainerInfo(container=container, state=self._with_health(container, state))

    def containers(self, *, all: bool = False) -> list[ContainerInfo]:
        """Running containers, newest first; with `all` every one. What killed commands left is finished first."""
        from tiffin.containers import end, pause

        end.finish_removals(self._parts)
        found = []
        for container, removing in records.all_containers(self._parts.database):
            state = pause.read_state(self._parts, container.id, removing=removing)
            end.end_orphan(self._parts, container, state)
            if container.config.health is not None:
                state = self._with_health(container, state)
            if (all or state.status in ("running", "restarting")) and not end.reap(self._parts, container, state):
                found.append(ContainerInfo(container=container, state=state))
        return found

    def inspect_container(self, reference: str) -> dict[str, Any]:
        """Everything known of a container, with Docker's field names. NotFoundError."""
        from tiffin.containers.inspect import inspect

        return inspect(self._parts, self.container(reference))

    def container_size(self, reference: str) -> tuple[int, int]:
        """Bytes and inodes of a container's writable layer. NotFoundError."""
        container = self._get(reference)
        return self._parts.driver(container.driver).usage(container.id)

    def attach(self, container: str) -> Attachment:
        """Connect to a running container's input and output. ConflictError when it does not run, or is paused."""
        from tiffin.containers import events
        from tiffin.runtime.attach import connect

        info = self.container(container)
        found = info.container
        if info.state.status == "restarting":
            raise ConflictError("You cannot attach to a restarting container, wait until it is running")
        if info.state.status != "running":
            raise ConflictError(f"container {found.name!r} is not running", hint="`tiffin start -a` starts it")
        if info.state.paused:
            raise ConflictError("You cannot attach to a paused container, unpause it first")
        attachment = connect(self._parts.paths.container_run(found.id))
        events.tell(self._parts, found, "attach")
        return attachment

    def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        tty: bool = False,
        tty_size: tuple[int, int] | None = None,
        user: str | None = None,
        groups: Sequence[str] = (),
        workdir: str | None = None,
        env: Sequence[str] = (),
        privileged: bool = False,
        detach: bool = False,
        pass_fds: Sequence[int | tuple[str, int]] = (),
    ) -> ExecSession:
        """Start one more process in a running container.

        `stdin`, `stdout`, `stderr` are descriptors that the process gets as they are (None: /dev/null); with `tty`
        the session's `master` is its terminal instead. Empty `user` and `workdir` mean the container's; `groups` are
        further ones. `pass_fds` as of `start`.
        ConflictError when the container does not run, CommandNotFound, CommandNotExecutable, LaunchError.
        """
        from tiffin.containers.execute import execute

        return execute(
            self._parts, self._get(container), command, stdio=(stdin, stdout, stderr), tty=tty, tty_size=tty_size,
            user=user, groups=groups, workdir=workdir, env=env, privileged=privileged, detach=detach,
            pass_fds=pass_fds,
        )  # fmt: skip

    def exec_run(self, container: str, command: Sequence[str], *, input: bytes | None = None, **options: Any) -> Result:
        """Run one more process in a running container to its end; captured output. Options and errors as `exec`."""
        from tiffin.containers.captured import exec_run

        return exec_run(self, container, command, input, options)

    def logs(
        self,
        container: str,
        *,
        follow: bool = False,
        since_ns: int | None = None,
        until_ns: int | None = None,
        tail: int | None = None,
    ) -> Iterator[LogLine]:
        """A container's output line by line; with `follow` until it ends.

        `since_ns` and `until_ns` are nanoseconds since the epoch, `tail` counts lines from the end. ConflictError
        when the container keeps no log.
        """
        from tiffin.containers import logs

        return logs.read(
            self._parts, self._get(container), follow=follow, since_ns=since_ns, until_ns=until_ns, tail=tail
        )

    def stop(
        self,
        container: str,
        *,
        timeout_s: float | None = None,
        signal: int | str | None = None,
        shutdown: bool = False,
    ) -> None:
        """Ask a container to end, and kill it when it has not after `timeout_s` (-1: wait for ever).

        The defaults are the container's own: its stop signal and 10 s if nothing else was said. Idle is fine. Its
        restart policy does not start it again; with `shutdown` it does at the next boot (`start_boot`).
        """
        from tiffin.containers import end

        end.stop(self._parts, self._get(container), timeout_s, signal, shutdown=shutdown)

    def kill(self, container: str, *, signal: int | str = "KILL") -> None:
        """Send a signal to a container's first process. ConflictError when it does not run."""
        from tiffin.containers import end

        end.kill(self._parts, self._get(container), signal)

    def wait(self, container: str, *, timeout_s: float | None = None, condition: str = "not-running") -> int:
        """Wait until a container has ended; its exit code. ConflictError after `timeout_s`.

        `condition` is "not-running" (it may have ended already), "next-exit" or "removed".
        """
        from tiffin.containers import waiting

        return waiting.wait(self._parts, self._get(container), timeout_s, condition)

    def restart(self, container: str, *, timeout_s: float | None = None, signal: int | str | None = None) -> None:
        """Stop a container, as `stop` does, if it runs, and start it. Errors as `start`."""
        from tiffin.containers import restart

        restart.restart(self._parts, self._get(container), timeout_s, signal)

    def pause(self, container: str) -> None:
        """Have all processes of a container stand still. ConflictError unless it runs and is not paused."""
        from tiffin.containers import pause

        pause.pause(self._parts, self._get(container))

    def unpause(self, container: str) -> None:
        """Let a paused container run on. ConflictError for any other."""
        from tiffin.containers import pause

        pause.unpause(self._parts, self._get(container))

    def rename(self, container: str, name: str) -> None:
        """Give a container another name. ConflictError when it is in use, UsageError when it is none."""
        from tiffin.containers import change

        change.rename(self._parts, self._get(container), name)

    def update(self, container: str, resources: Resources = NO_CHANGE, *, restart: RestartPolicy | None = None) -> None:
        """Change those limits of a container that are not None, at once if it runs; all of them, or none.

        And its restart policy, if one is given, from its next end on. UsageError for limits that make no sense,
        HostError when the kernel refuses, ConflictError for the policy of one that is removed at its end.
        """
        from tiffin.containers import change

        change.update(self._parts, self._get(container), resources, restart)

    def update_plan(self, container: str, resources: Resources) -> tuple[LimitWrite, ...]:
        """What `update` would write where, in its order, without writing it; nothing for one that does not run.

        Errors as `update`.
        """
        from tiffin.containers import change

        return change.planned(self._parts, self._get(container), resources)

    def top(self, container: str, columns: Sequence[str] = ()) -> ProcessTable:
        """The processes of a running container; `columns` as ps(1) names them, by default those of `ps -f`."""
        from tiffin.containers import processes

        return processes.table(self._parts, self._get(container), columns)

    def remove(self, container: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container and all it wrote, and with `volumes` its anonymous volumes.

        ConflictError while it runs, unless `force` kills it first.
        """
        from tiffin.containers import end

        end.remove(self._parts, self._get(container), force=force, volumes=volumes)

    def cleanup(self, container: str) -> None:
        """Finish what the end of a container asks for; its monitor calls this when nobody else promised to."""
        from tiffin.containers import end

        end.cleanup(self._parts, container)

    # The engine itself

    def info(self) -> dict[str, Any]:
        """What this engine is and what it found on the host, with Docker's field names where they fit."""
        from tiffin.system.info import info

        return info(self._parts)

    def disk_usage(self) -> dict[str, Any]:
        """Bytes by images, containers and objects: all, shared, and what a prune would free."""
        from tiffin.system.usage import disk_usage

        return disk_usage(self._parts)

    def check(self, *, contents: bool = False) -> list[str]:
        """Look for damage and litter; one sentence per finding. `contents` reads every object and layer again."""
        from tiffin.system.check import check

        return check(self._parts, contents=contents)

    def prune_plan(
        self,
        *,
        containers: bool = True,
        images: bool = True,
        all_images: bool = False,
        volumes: str = "",
        choose: Callable[[tuple[Volume, ...]], tuple[Volume, ...]] | None = None,
        goes: Callable[[Container | Image], bool] | None = None,
    ) -> PrunePlan:
        """What `prune` would remove: ended containers, images without a name, litter.

        With `all_images` every image that no container needs. `volumes` is "", or "anonymous" or "all" for those
        volumes that no container needs; `choose` leaves some of these, `goes` says which containers and images may go.
        """
        from tiffin.system.prune import plan

        return plan(
            self._parts, containers=containers, images=images, all_images=all_images, volumes=volumes, choose=choose,
            goes=goes,
        )  # fmt: skip

    def prune(self, plan: PrunePlan) -> Pruned:
        """Remove what the plan lists and what is still unused now."""
        from tiffin.system.prune import prune

        return prune(self._parts, plan)

    def _get(self, reference: str) -> Container:
        return records.get(self._parts.database, reference)
