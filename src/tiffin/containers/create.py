"""Creating a container: what the user asked and what the image says become one record."""

from __future__ import annotations

import os

from tiffin.containers import command, events, names
from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.failpoints import failpoint
from tiffin.model.container import Container, ContainerConfig, Mount
from tiffin.runtime import signals, spec, systemd, users
from tiffin.runtime.compile import RLIMITS
from tiffin.runtime.security import capabilities, masks, options
from tiffin.state import containers as records
from tiffin.state.db import now_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.image import Image
    from tiffin.model.volume import Volume
    from tiffin.parts import Parts

DEFAULT_STOP_TIMEOUT_S = 10
# What the launcher accepts: a file holds at least some lines, and a rotation renames no more files than this.
MIN_LOG_BYTES, MAX_LOG_FILES = 4096, 1000


def create(parts: Parts, config: ContainerConfig) -> Container:
    """Decide and persist; nothing runs yet. Everything that can be refused now is refused now."""
    if config.pod or os.path.isdir(parts.paths.pods):
        from tiffin.pods import membership

        with membership.creating(parts, config) as config:
            container, needed = _record(parts, config)
    else:
        container, needed = _record(parts, config)
    os.makedirs(parts.paths.container(container.id), mode=0o711, exist_ok=True)
    failpoint("create.directory")
    if needed:
        from tiffin.volumes import mounts

        try:
            mounts.prepare(parts, container)
        except BaseException:
            from tiffin.containers import end

            end.remove(parts, container, force=False, volumes=True)
            raise
    events.tell(parts, container, "create")
    return container


def _record(parts: Parts, config: ContainerConfig) -> tuple[Container, list[tuple[Volume, bool]]]:
    """Decide and insert the record; with the volumes that it needs."""
    image = parts.images.get(config.image)
    _check_platform(parts, config, image)
    check_mounts(config.mounts)
    if any(mount.type == "image" for mount in config.mounts):
        from tiffin.volumes.images import resolve_images

        config = resolve_images(parts, config)
    shares = any(":" in mode for _, mode in spec.modes(config))
    if shares:
        from tiffin.containers import joined

        config = joined.resolve(parts, config)
    take_ids = None
    maps = config.uid_maps or config.gid_maps or any(mount.idmap for mount in config.mounts)
    if config.userns or maps or parts.userns or shares:
        from tiffin.containers import userns

        config = userns.resolve(parts, config)
    needed: list[tuple[Volume, bool]] = []
    if image.config.volumes or config.volumes_from or any(mount.type == "volume" for mount in config.mounts):
        from tiffin.volumes import mounts

        config = mounts.resolve(parts, config, image.config.volumes)
        needed = mounts.wanted(config.mounts)
    if config.runtime or parts.runtime:
        from tiffin.containers import foreign

        config = foreign.chosen(parts, config)
    name = names.check_name(config.name) if config.name else None
    container = decide(parts, config, image, name)
    if config.userns not in ("", "host"):
        container, take_ids = userns.decide(parts, container)
    check(parts, container)
    if config.mounts and (container.uid_maps or any(mount.volume_options for mount in config.mounts)):
        from tiffin.containers import mounting

        mounting.check(parts, container, new_ids=take_ids is not None)
    while True:
        try:
            container = records.add(
                parts.database, container, needs_image=not parts.is_host(image.id), volumes=needed, take_ids=take_ids
            )
            break
        except ConflictError:
            if name is not None:
                raise
            container = container.replace(name=_random_name(parts))
    failpoint("create.recorded")
    return container, needed


def _check_platform(parts: Parts, config: ContainerConfig, image: Image) -> None:
    """As Docker: an image of another platform than was asked for is refused, one of another than the host's is not."""
    if not config.platform and (image.architecture == "amd64") == (os.uname().machine == "x86_64"):
        return  # most of all images, without a look at names and variants
    from tiffin.images.platform import Platform, host_platform, is_known, parse_platform, rank

    actual = Platform(os=image.os, architecture=image.architecture, variant=image.variant)
    if parts.is_host(image.id):
        actual = host_platform()
    if config.platform:
        if "/" not in config.platform and not is_known(config.platform):
            raise UsageError(f'"{config.platform}": unknown operating system or architecture: invalid argument')
        wanted = parse_platform(host_platform().architecture if config.platform == "linux" else config.platform)
        if rank(actual, wanted) is None:
            raise NotFoundError(
                f"image with reference {config.image} was found but does not provide the specified platform ({wanted})",
                hint=f"it is for {actual}",
            )
    elif rank(actual, host_platform()) is None:
        parts.warn(
            f"The requested image's platform ({actual}) does not match the detected host platform ({host_platform()}) "
            "and no specific platform was requested"
        )


def decide(parts: Parts, config: ContainerConfig, image: Image, name: str | None) -> Container:
    """Merge config and image as Docker does; what the user said wins."""
    container_id = names.new_id()
    of_image = image.config
    entrypoint = of_image.entrypoint if config.entrypoint is None else config.entrypoint
    arguments = config.command or (of_image.cmd if config.entrypoint is None else ())
    argv = (*entrypoint, *arguments)
    if not argv or not argv[0]:
        raise UsageError(f"no command specified: the image {config.image!r} has none", hint="give one after the image")
    if config.restart.name != "no" or config.restart.maximum_retries:
        from tiffin.containers import policy

        policy.check(config.restart, auto_remove=config.auto_remove)
    if config.health is not None or of_image.health is not None:
        from tiffin.containers import health

        config = config.replace(health=health.merged(config.health, of_image.health))
    if config.systemd != "false":
        config = config.replace(systemd=systemd.decided(config, argv))
    if config.uts == "host" and config.hostname:
        raise UsageError("conflicting options: hostname and the host's UTS namespace")
    # As Docker: in the host's network it is the host's name that the network's other services know.
    shares_name = config.uts == "host" or config.network == "host"
    hostname = config.hostname or (os.uname().nodename if shares_name else container_id[:12])
    if config.uts.startswith("container:") or config.network.startswith("container:"):
        from tiffin.containers import joined

        hostname = joined.hostname(parts, config) or hostname
    workdir = config.workdir or of_image.workdir or "/"
    if not workdir.startswith("/"):
        raise UsageError(f"the working directory {workdir!r} is invalid, it needs to be an absolute path")
    timeout = DEFAULT_STOP_TIMEOUT_S if config.stop_timeout_s is None else config.stop_timeout_s
    return Container(
        id=container_id,
        name=name or _random_name(parts),
        image_id=image.id,
        image_name=config.image,
        driver=parts.driver_name_for(image.id),
        created_ns=now_ns(),
        config=config,
        argv=argv,
        env=command.merge_env(of_image.env, config.env),
        workdir=workdir,
        user=config.user if config.user is not None else of_image.user,
        hostname=hostname,
        stop_signal=signals.number(config.stop_signal or of_image.stop_signal or systemd.stop_signal(config)),
        stop_timeout_s=timeout,
        labels=tuple(sorted({**dict(of_image.labels), **dict(config.labels)}.items())),
    )


def _random_name(parts: Parts) -> str:
    return names.random_name(lambda name: records.name_taken(parts.database, name))


def check(parts: Parts, container: Container) -> None:
    """Refuse now what could not start later."""
    config = container.config
    for what in (*container.argv, *container.env, container.hostname, container.workdir, container.user):
        if "\0" in what:
            raise UsageError(f"a NUL byte in {what!r}")
    if len(container.hostname) > 64:
        raise UsageError(f"the hostname {container.hostname!r} is longer than 64 characters")
    check_mounts(config.mounts)
    spec.namespaces(container)
    for mount in config.mounts:
        spec.user_mount(mount)
    if config.oom_score_adj is not None and not -1000 <= config.oom_score_adj <= 1000:
        raise UsageError(f"Invalid value {config.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if config.device_cgroup_rules:
        from tiffin.cgroups.devices import parse_rule

        for rule in config.device_cgroup_rules:
            parse_rule(rule)
    if config.device_requests or config.gpus:
        from tiffin.containers import device_requests

        device_requests.find(parts, container)
    capabilities.resolve(config.cap_add, config.cap_drop, config.privileged, parts.bounding)
    options.parse_security_opts(config.security_opts)
    masks.check_sysctls(config.sysctls, network=config.network, ipc=config.ipc)
    for limit in config.ulimits:
        if limit.name not in RLIMITS:
            raise UsageError(f"invalid ulimit type: {limit.name}", hint="known are " + ", ".join(RLIMITS))
    log = config.log
    if log.driver != "cri" or log.options:
        from tiffin.containers import log_drivers

        log_drivers.check(container)
    if log.driver != "none" and (log.max_size_bytes < MIN_LOG_BYTES or not 1 <= log.max_files <= MAX_LOG_FILES):
        raise UsageError(
            f"a log cannot be kept in {log.max_files} files of {log.max_size_bytes} bytes",
            hint=f"it needs 1 to {MAX_LOG_FILES} files of at least {MIN_LOG_BYTES} bytes",
        )
    if config.runtime:
        from tiffin.runtime import foreign

        foreign.check(container)
    if config.resources.memory_merge:
        from tiffin.runtime import ksm

        ksm.check()
    parts.cgroups.validate(config.resources)
    # Unknown names fail here rather than at every start.
    driver = parts.driver(container.driver)
    if container.user or config.groups:
        identity = users.resolve(
            container.user,
            config.groups,
            driver.image_file(container.image_id, "/etc/passwd"),
            driver.image_file(container.image_id, "/etc/group"),
        )
        if container.uid_maps:
            from tiffin.containers.userns import check_identity

            check_identity(container, identity)


def check_mounts(mounts: tuple[Mount, ...]) -> None:
    """Each can be, at a place of its own; sources are there unless they are to be made."""
    if not mounts:
        return
    from tiffin.volumes.checks import check_mount, check_source

    seen: set[str] = set()
    for mount in mounts:
        check_mount(mount)
        target = os.path.normpath(mount.target)
        if target in seen:
            raise UsageError(f"Duplicate mount point: {target}")
        seen.add(target)
        check_source(mount)
