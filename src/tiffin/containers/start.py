"""Starting a container: record → spec → plan → launcher, in one pass."""

from __future__ import annotations

import os
import sys

from tiffin.cgroups import devices
from tiffin.containers import events, files
from tiffin.containers.confine import confinement, spared
from tiffin.errors import ConflictError, HostError, NotFoundError, NotSupportedError, TiffinError, os_error
from tiffin.failpoints import failpoint
from tiffin.model import idmap
from tiffin.model.container import Container, Device
from tiffin.model.resources import Resources
from tiffin.runtime import native, spec, systemd, users
from tiffin.runtime.compile import DEFAULT_DEVICES, Monitor, compile_launch
from tiffin.runtime.security import capabilities, lsm, options
from tiffin.state import containers as records
from tiffin.state import restarts, status
from tiffin.state.locks import ContainerLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from tiffin.containers.mounting import Mounting
    from tiffin.containers.passing import Passed
    from tiffin.parts import Parts
    from tiffin.runtime.attach import Attachment
    from tiffin.runtime.ops import Plan

# Terminals and shared memory of the host are not devices to hand on, and the container has its own.
NEVER_SHOWN = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/ptmx")


def start(
    parts: Parts,
    container: Container,
    *,
    attach: bool,
    tty_size: tuple[int, int] | None = None,
    pass_fds: Sequence[int | tuple[str, int]] = (),
) -> Attachment | None:
    """Start it unless it runs; with `attach`, its stdio from the very first byte.

    ConflictError when it runs already and `attach` was asked; LaunchError and its kinds when a step failed.
    """
    with ContainerLock(parts.paths, container.id):
        container = still_there(parts, container)
        now = status.read_state(parts.paths, container.id).status
        if now == "restarting":
            end_waiting(parts, container)
        if now == "running":
            if parts.cgroups.frozen(container.id):
                raise ConflictError("cannot start a paused container, try unpause instead")
            if attach:
                raise ConflictError(f"container {container.name!r} is already running", hint="attach to it instead")
            if pass_fds:
                raise ConflictError(
                    f"container {container.name!r} is already running, so descriptors cannot be passed to it"
                )
            return None
        return launch(parts, container, attach, tty_size, pass_fds)


def still_there(parts: Parts, container: Container) -> Container:
    """The record as it is now that its lock is held. NotFoundError when it was removed meanwhile."""
    now = records.current(parts.database, container.id)
    if now is None:
        drop_empty(parts.paths.container(container.id))
        raise NotFoundError(f"no such container: {container.name}")
    return now


def end_waiting(parts: Parts, container: Container) -> bool:
    """End whoever waits to start it again; its lock is held. False when nobody does (any more)."""
    from tiffin.containers import again

    return again.end_waiting(parts, container)


def launch(
    parts: Parts,
    container: Container,
    attach: bool,
    tty_size: tuple[int, int] | None,
    pass_fds: Sequence[int | tuple[str, int]] = (),
    *,
    again: bool = False,
) -> Attachment | None:
    """Start what does not run; its lock is held. `again`: by its restart policy, which counts on."""

    def now(container: Container) -> Attachment | None:
        return _launch(parts, container, attach, tty_size, pass_fds, again)

    if container.config.pod:
        from tiffin.pods import membership

        return membership.launch(parts, container, now)
    return now(container)


def _launch(
    parts: Parts,
    container: Container,
    attach: bool,
    tty_size: tuple[int, int] | None,
    pass_fds: Sequence[int | tuple[str, int]],
    again: bool,
) -> Attachment | None:
    if not status.wait_for_monitor(parts.paths, container.id):
        raise HostError(f"container {container.name!r} has ended, but its monitor does not")
    given = None
    if pass_fds:
        from tiffin.containers import passing

        given = passing.passed(pass_fds)
        if container.config.runtime:
            raise NotSupportedError(
                f"descriptors cannot be passed to a program under --runtime {container.config.runtime} so far"
            )
    # The caller's own standard streams, where the log is whatever these are.
    stdio = (0, 1, 2) if container.config.log.driver == "passthrough" else ()
    restarts.begin(parts.paths, container.id, container.config.restart, again=again)
    events.tell_lost(parts, container)
    status.write_starting(parts.paths, container.id)
    failpoint("start.starting")
    if attach:
        events.tell(parts, container, "attach")
    mounted = False
    try:
        with mounting_for(parts, container) as mounting:
            with parts.timed("plan"):
                plan = prepare(parts, container, tty_size, given, mounting)
            mounted = True
            events.mounted(parts, container)
            if attach and container.config.auto_remove:
                status.write_owner(parts.paths, container.id)
                failpoint("start.owner")
            with parts.timed("launch"):
                attachment = native.launch(plan, attach=attach, passed=(*stdio, *(given.fds if given else ())))
                failpoint("start.launched")
    except BaseException as error:
        code = max(error.exit_code, 125) if isinstance(error, TiffinError) else 125
        parts.cgroups.remove(container.id)
        if mounted:
            events.unmounted(parts, container)
        status.write_failed(parts.paths, container.id, code, str(error).replace("\n", " "))
        raise
    return attachment


def mounting_for(parts: Parts, container: Container) -> AbstractContextManager[Mounting | None]:
    """What its mounts need now, if they are more than volumes and directories."""
    from contextlib import nullcontext

    if not any(container.config.mounts):
        return nullcontext()
    from tiffin.containers.mounting import Mounting, needed

    return Mounting(parts, container) if needed(container) else nullcontext()


def _make_source(path: str) -> None:
    """The directory that -v makes where the host has nothing, with Docker's words if it cannot be."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise HostError(f"error while creating mount source path '{path}': mkdir {error.filename}: {reason}") from error


def prepare(
    parts: Parts,
    container: Container,
    tty_size: tuple[int, int] | None,
    given: Passed | None = None,
    mounting: Mounting | None = None,
) -> Plan:
    """Everything on disk and in cgroupfs that the plan names, and the plan."""
    config = container.config
    paths = parts.paths
    directory = paths.container(container.id)
    run_dir = paths.container_run(container.id)
    rootfs = f"{directory}/rootfs"
    security = options.parse_security_opts(config.security_opts)
    labels = lsm.labels(security, container.id, privileged=config.privileged)
    driver = parts.driver(container.driver)
    if any(mount.type == "volume" for mount in config.mounts):
        from tiffin.volumes import mounts

        mounts.prepare(parts, container)
    try:
        os.makedirs(run_dir, mode=0o700, exist_ok=True)
        os.makedirs(rootfs, mode=0o755, exist_ok=True)
    except OSError as error:
        raise os_error(error, f"cannot prepare container {container.name!r}") from error
    for mount in config.mounts:
        if mount.type == "bind" and mount.create_source and not os.path.exists(mount.source):
            _make_source(mount.source)
    failpoint("start.directories")
    if not driver.image_ready(container.image_id):
        driver.prepare_image(container.image_id, parts.images.get(container.image_id).layers)
        failpoint("start.image")
    ids = idmap.of(container)
    if not os.path.isdir(driver.upper(container.id) or ""):
        driver.create(container.id, container.image_id, ids)
        failpoint("start.writable")
    identity = users.resolve(
        container.user,
        config.groups,
        files.account_file(driver, container, "/etc/passwd"),
        files.account_file(driver, container, "/etc/group"),
    )
    nodes = device_nodes(config.devices, config.privileged)
    edits = None
    if config.device_requests or config.gpus:
        from tiffin.containers import device_requests

        edits = device_requests.find(parts, container)
        identity = device_requests.with_groups(identity, edits)
        nodes = device_requests.with_nodes(nodes, edits, identity)
    if ids:
        from tiffin.containers.userns import check_identity

        check_identity(container, identity)
    joined = spec.Joined()
    if any(":" in mode for mode in (config.userns, *(mode for _, mode in spec.modes(config)))):
        from tiffin.containers import joined as others

        joined = others.find(parts, container)
    built = spec.build_spec(
        container,
        identity=identity,
        security=security,
        host=host_facts(parts, container, labels).replace(joined=joined),
        files=files.write(paths, container),
        rootfs=rootfs,
        nodes=nodes,
    )
    failpoint("start.files")
    if mounting:
        mounting.prepare(labels)
        joined = mounting.apply(built, joined)
    if edits:
        device_requests.apply(built, container, edits)
    if config.resources.memory_merge:
        from tiffin.runtime import ksm

        ksm.check()
        ksm.switch_on(parts.warn)
    rules = devices.device_rules(nodes, config.privileged, config.device_cgroup_rules)
    with parts.timed("cgroup"):
        disks: tuple[str, ...] = ()
        if config.resources != Resources():
            from tiffin.containers import carriers

            disks = carriers.disks(parts, container, config.resources)
            carriers.warn(parts, container, config.resources, disks)
        owner = systemd.owner(container)
        cgroup = parts.cgroups.create(container.id, config.resources, rules, delegated=owner, disks=disks)
    failpoint("start.cgroup")
    confined = confinement(parts, container, security, labels, built["process"], init=config.init)
    health = None
    if config.health is not None and config.health.test:
        from tiffin.containers import health as checks

        health = checks.prepare(parts, container, built, cgroup, confined)
    log = config.log
    if given:
        confined = given.confine(confined)
        built["process"]["env"] = given.environment(built["process"]["env"])
    argv = cleanup_argv(parts, container.id)
    log_path = f"{directory}/output.log"
    log_operations: tuple[tuple[str, tuple[object, ...], str], ...] = ()
    if log.driver != "cri":
        from tiffin.containers import log_drivers

        log_path, log_operations = log_drivers.operations(paths, container)
    monitor = Monitor(
        run_dir=run_dir,
        exit_file=f"{directory}/exit",
        log_path=log_path,
        log_max_bytes=log.max_size_bytes,
        log_files=log.max_files,
        log_operations=log_operations,
        open_stdin=config.interactive,
        tty_size=tty_size,
        passed_stdio=log.driver == "passthrough",
        on_exit=argv if config.auto_remove else (),
        directory=directory,
        again=argv,
        health=health,
        freezer=parts.cgroups.freezer(container.id) if health else None,
        events=(parts.paths.events, events.actor(container), events.last_lines(container)),
    )
    steps = driver.steps(container.id, container.image_id, rootfs, volatile=config.auto_remove, mapped=bool(ids))
    if mounting:
        steps = tuple(dict.fromkeys((*steps, *mounting.steps)))
    if config.runtime:
        from tiffin.containers import foreign

        plan = foreign.plan(parts, container, built, monitor, steps, cgroup, rules, security)
    else:
        plan = compile_launch(
            built, monitor=monitor, rootfs_steps=steps, cgroup=cgroup, confinement=confined, joined=joined
        )
    if parts.debug:
        import json

        parts.debug("spec: " + json.dumps(built, indent=2))
        parts.debug("plan:\n" + plan.describe())
    return plan


def device_nodes(asked: tuple[Device, ...], privileged: bool) -> tuple[devices.DeviceNode, ...]:
    """The device nodes to make inside; a privileged container gets all that the host has."""
    nodes = [node for device in asked for node in devices.device_nodes(device)]
    if privileged:
        everything = devices.device_nodes(Device(host_path="/dev", container_path="/dev"))
        own = {node.path for node in nodes} | {f"/dev/{name}" for name, _, _ in DEFAULT_DEVICES}
        nodes += [node for node in everything if node.path not in own and not node.path.startswith(NEVER_SHOWN)]
    return tuple(nodes)


def host_facts(parts: Parts, container: Container, labels: lsm.Labels) -> spec.HostFacts:
    """What this host can do for this container; a capability it cannot give is said."""
    config = container.config
    _, missing = capabilities.resolve(config.cap_add, config.cap_drop, config.privileged, parts.bounding)
    if missing:
        parts.warn(f"this host cannot give the capabilities {', '.join(missing)}")
    return spec.HostFacts(
        bounding=parts.bounding,
        cgroup_mounts=parts.cgroups.mounts(
            private=config.cgroupns != "host",
            read_only=not config.privileged,
            delegated=config.systemd == systemd.ALWAYS,
        ),
        labels=labels,
        spared=spared(),
        volumes=parts.paths.volumes,
    )


def cleanup_argv(parts: Parts, container_id: str) -> tuple[str, ...]:
    """What a monitor executes after the end of a container that is to be removed, or started again.

    It runs in an empty environment, in "/": Tiffin is to be found where it was found now, by PYTHONPATH perhaps.
    """
    roots = ("--root", parts.paths.root, "--run-root", parts.paths.run)
    # Not the default ones: to name these would keep a container to what they were when it was started.
    described = (word for directory in parts.given_cdi_dirs for word in ("--cdi-spec-dir", directory))
    return (*module_argv(sys.executable), *roots, *described, "cleanup", container_id)


def module_argv(python: str) -> tuple[str, ...]:
    """How to run Tiffin's command line whatever directory and environment it is run in."""
    return (python, "-P", "-c", FIND_TIFFIN, _search_path())


FIND_TIFFIN = (
    "import sys; sys.path[:0] = [d for d in sys.argv.pop(1).split(':') if d not in sys.path]; "
    "from tiffin.cli.main import main; sys.exit(main())"
)


def _search_path() -> str:
    """Where Tiffin lies, and what else PYTHONPATH names, joined as there."""
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    named = [os.path.abspath(name) for name in os.environ.get("PYTHONPATH", "").split(":") if name]
    return ":".join(dict.fromkeys((own, *named)))


def drop_empty(directory: str) -> None:
    """Undo what taking the lock of a container that is gone has made."""
    try:
        os.rmdir(directory)
    except OSError:
        pass  # a removal that is under way does it


def get(parts: Parts, reference: str) -> Container:
    """The container that a user means."""
    return records.get(parts.database, reference)
