"""A container with Docker's field names and types, so that scripts written for Docker read it."""

from __future__ import annotations

from tiffin.containers import inspect_empty, log_drivers
from tiffin.containers.logs import rfc3339
from tiffin.model.container import Container, ContainerConfig, ContainerInfo, ContainerState, Mount
from tiffin.model.image import health_object
from tiffin.runtime import signals
from tiffin.runtime.security import masks, options
from tiffin.state import restarts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.model.resources import Resources
    from tiffin.parts import Parts

NEVER = "0001-01-01T00:00:00Z"


def inspect(parts: Parts, info: ContainerInfo) -> dict[str, Any]:
    """Everything known of a container; what Tiffin adds stands under "Tiffin"."""
    container, state = info.container, info.state
    directory = parts.paths.container(container.id)
    driver = parts.driver(container.driver)
    image = parts.images.get("host" if parts.is_host(container.image_id) else container.image_id)
    return {
        "Id": container.id,
        "Created": rfc3339(container.created_ns),
        "Path": container.argv[0],
        "Args": list(container.argv[1:]),
        "State": {**_state(state), **_health(parts, container, state)},
        "Image": container.image_id,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": log_drivers.shown_path(parts.paths, container),
        "Name": f"/{container.name}",
        "RestartCount": restarts.count(parts.paths, container.id),
        "Driver": container.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "Pod": container.config.pod,
        "HostConfig": _host_config(container),
        "GraphDriver": {
            "Name": container.driver,
            "Data": _graph(container, state, driver.upper(container.id) or "", parts.paths.images),
        },
        "Mounts": _mounts(container, parts.paths.volumes),
        "Config": _config(container, image.config.entrypoint, image.config.exposed_ports),
        "NetworkSettings": {
            **inspect_empty.network_settings(state.pid),
            "Ports": {},
            **_addresses(),
            "Networks": _networks(container.config.network),
        },
        "Tiffin": {"ImageNames": list(image.names), "MonitorPid": state.monitor_pid},
    }


def _graph(container: Container, state: ContainerState, upper: str, images: str) -> dict[str, str]:
    """Overlay's directories. Merged they are mounted in the container only, so that is where its root is seen."""
    return {
        "LowerDir": f"{images}/{container.image_id.removeprefix('sha256:')}" if upper else "",
        "MergedDir": f"/proc/{state.pid}/root" if state.pid else "",
        "UpperDir": upper,
        "WorkDir": f"{upper.removesuffix('upper')}work" if upper else "",
    }


def _state(state: ContainerState) -> dict[str, Any]:
    return {
        "Status": "paused" if state.paused else state.status,
        # As Docker: one that is to be started again in a moment counts as running.
        "Running": state.status in ("running", "restarting"),
        "Paused": state.paused,
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": False,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_ns) if state.started_ns else NEVER,
        "FinishedAt": rfc3339(state.finished_ns) if state.finished_ns else NEVER,
    }


def _health(parts: Parts, container: Container, state: ContainerState) -> dict[str, Any]:
    check = container.config.health
    if check is None:
        return {}
    from tiffin.containers import health as checks
    from tiffin.state.health import of_run, read_health

    if not checks.checked(check):
        return {}
    health = read_health(parts.paths, container.id, checks.with_defaults(check).timeout_ns)
    if health is None:
        return {}
    log = [
        {"Start": rfc3339(entry.start_ns), "End": rfc3339(entry.end_ns), "ExitCode": entry.exit_code,
         "Output": entry.output}
        for entry in health.log
    ]  # fmt: skip
    return {
        "Health": {"Status": of_run(health.status, state.status), "FailingStreak": health.failing_streak, "Log": log}
    }


def _addresses() -> dict[str, Any]:
    """What a network gives, all of it empty: neither none nor host gives anything."""
    return {
        "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "",
        "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
    }  # fmt: skip


def _networks(mode: str) -> dict[str, Any]:
    """As Docker: a container in another's network has none of its own to tell of."""
    return {} if mode.startswith(("container:", "ns:")) else {mode: _endpoint()}


def _endpoint() -> dict[str, Any]:
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "NetworkID": "",
        "DNSNames": None,
        "DriverOpts": None,
        **_addresses(),
    }


def _config(container: Container, of_image: tuple[str, ...], ports: tuple[str, ...]) -> dict[str, Any]:
    config = container.config
    # As Docker shows them: what runs, merged from user and image.
    entrypoint = of_image if config.entrypoint is None else config.entrypoint
    return {
        "Hostname": container.hostname,
        "Domainname": config.domainname or "",
        "User": container.user,
        "AttachStdin": config.interactive,
        "AttachStdout": True,
        "AttachStderr": True,
        **({"ExposedPorts": {port: {} for port in ports}} if ports else {}),
        "Tty": config.tty,
        "OpenStdin": config.interactive,
        "StdinOnce": config.interactive,
        "Env": list(container.env),
        "Cmd": list(container.argv[len(entrypoint) :]) or None,
        "Image": container.image_name,
        "Volumes": {mount.target: {} for mount in config.mounts if mount.anonymous and not mount.inherited} or None,
        "WorkingDir": container.workdir,
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(container.labels),
        "StopSignal": _stop_signal(container),
        "StopTimeout": container.stop_timeout_s,
        **({"Healthcheck": health_object(config.health)} if config.health is not None else {}),
    }


def _stop_signal(container: Container) -> str:
    """As it was given, empty where nobody did."""
    if config_signal := container.config.stop_signal:
        return config_signal
    return "" if container.stop_signal == signals.SIGTERM else signals.name(container.stop_signal)


def _host_config(container: Container) -> dict[str, Any]:
    config = container.config
    resources = config.resources
    security = options.parse_security_opts(config.security_opts)
    return {
        **inspect_empty.host_config(),
        "Binds": [_bind(mount) for mount in config.mounts if _is_bind(mount)] or None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": config.log.driver, "Config": log_drivers.shown_options(config.log)},
        "NetworkMode": config.network,
        "PortBindings": {},
        "RestartPolicy": {"Name": config.restart.name, "MaximumRetryCount": config.restart.maximum_retries},
        "AutoRemove": config.auto_remove,
        "VolumesFrom": list(config.volumes_from) or None,
        "CapAdd": inspect_empty.capability_names(config.cap_add),
        "CapDrop": inspect_empty.capability_names(config.cap_drop),
        "CgroupnsMode": config.cgroupns,
        "GroupAdd": list(config.groups) or None,
        "IpcMode": config.ipc,
        "OomScoreAdj": config.oom_score_adj or 0,
        "Annotations": dict(config.annotations) or None,
        "DeviceCgroupRules": list(config.device_cgroup_rules) or None,
        "Isolation": "",
        "PidMode": "" if config.pid == "private" else config.pid,
        "Privileged": config.privileged,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": list(config.security_opts) or None,
        "Sysctls": dict(config.sysctls) or None,
        "Tmpfs": {m.target: ",".join(m.tmpfs_options) for m in config.mounts if m.type == "tmpfs"} or None,
        "UTSMode": "" if config.uts == "private" else config.uts,
        "UsernsMode": config.userns,
        **_id_mappings(container),
        "ShmSize": config.shm_size_bytes,
        "Runtime": config.runtime or "native",
        "Init": config.init,
        "Memory": resources.memory_bytes or 0,
        # As Docker: a memory limit alone allows as much swap again.
        "MemorySwap": resources.memory_swap_bytes or 2 * (resources.memory_bytes or 0),
        "MemoryReservation": resources.memory_reservation_bytes or 0,
        "MemoryMerge": bool(resources.memory_merge),
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": bool(resources.oom_kill_disable),
        **_more_limits(resources),
        "NanoCpus": round((resources.cpus or 0) * 1e9),
        "CpuShares": resources.cpu_shares or 0,
        "CpusetCpus": resources.cpuset_cpus or "",
        "CpusetMems": resources.cpuset_mems or "",
        "PidsLimit": resources.pids_limit,
        "Devices": [
            {"PathOnHost": d.host_path, "PathInContainer": d.container_path, "CgroupPermissions": d.permissions}
            for d in config.devices
        ],
        "DeviceRequests": _device_requests(config),
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in config.ulimits] or None,
        "MaskedPaths": list(masks.masked_paths(security, config.privileged)),
        "ReadonlyPaths": list(masks.readonly_paths(security, config.privileged)),
    }


def _more_limits(limits: Resources) -> dict[str, Any]:
    """Docker's names where it has any; its zero for what is not limited."""
    rates = {
        f"BlkioDevice{direction}{unit}": [
            {"Path": path, "Rate": rate} for path, rate in getattr(limits, f"device_{direction}_{unit}".lower()) or ()
        ]
        for direction in ("Read", "Write")
        for unit in ("Bps", "IOps")
    }
    return {
        "BlkioWeight": limits.io_weight or 0,
        "BlkioWeightDevice": [{"Path": path, "Weight": weight} for path, weight in limits.device_weights or ()],
        **rates,
        "CpuPeriod": limits.cpu_period_us or 0,
        "CpuQuota": limits.cpu_quota_us or 0,
        "CpuRealtimePeriod": limits.cpu_rt_period_us or 0,
        "CpuRealtimeRuntime": limits.cpu_rt_runtime_us or 0,
        "CpuBurst": limits.cpu_burst_us or 0,
        "CpuIdle": bool(limits.cpu_idle),
        "MemoryMin": limits.memory_min_bytes or 0,
        "MemoryHigh": limits.memory_high_bytes or 0,
        "OomGroup": bool(limits.oom_group),
        "IoReadBps": limits.io_read_bps or 0,
        "IoWriteBps": limits.io_write_bps or 0,
        "IoReadIOps": limits.io_read_iops or 0,
        "IoWriteIOps": limits.io_write_iops or 0,
        "Hugetlb": [{"PageSize": size, "Limit": limit} for size, limit in limits.hugetlb or ()],
        "Rdma": dict(limits.rdma or ()),
        "Misc": dict(limits.misc or ()),
    }


def _device_requests(config: ContainerConfig) -> list[dict[str, Any]] | None:
    """As Docker: one request for all qualified names, and one for each --gpus."""
    if not config.device_requests and not config.gpus:
        return None
    found: list[dict[str, Any]] = []
    for text in config.gpus:
        names = text.removeprefix("device=").split(",") if text.startswith("device=") else None
        count = 0 if names else -1 if text == "all" else int(text)
        found.append({"Driver": "", "Count": count, "DeviceIDs": names, "Capabilities": [["gpu"]], "Options": {}})
    if config.device_requests:
        names = list(config.device_requests)
        found.append({"Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": None, "Options": None})
    return found


def _id_mappings(container: Container) -> dict[str, Any]:
    """As Podman shows them; nothing where the ids are the host's."""
    if not container.uid_maps:
        return {}
    uids, gids = ([":".join(map(str, entry)) for entry in maps] for maps in (container.uid_maps, container.gid_maps))
    return {"IDMappings": {"UidMap": uids, "GidMap": gids}}


def _is_bind(mount: Mount) -> bool:
    """Whether Docker counts it among its binds: directories of the host and named volumes, not another container's."""
    return mount.type in ("bind", "volume") and not mount.anonymous and not mount.inherited


def _bind(mount: Mount) -> str:
    options = [_mode(mount)] if _mode(mount) else []
    if mount.nocopy:
        options.append("nocopy")
    if mount.propagation != "rprivate":
        options.append(mount.propagation)
    return ":".join([mount.source, mount.target, *([",".join(options)] if options else [])])


def _mode(mount: Mount) -> str:
    """The words that `-v` would have after the place."""
    relabel = {"shared": "z", "private": "Z"}.get(mount.relabel, "")
    return ",".join(word for word in ("ro" if mount.readonly else "", relabel) if word)


def _mounts(container: Container, volumes: str) -> list[dict[str, Any]]:
    return [
        {
            "Type": mount.type,
            **({"Name": mount.source} if mount.type == "volume" else {}),
            "Source": f"{volumes}/{mount.source}/_data" if mount.type == "volume" else mount.source,
            **({"SubPath": mount.subpath} if mount.subpath else {}),
            "Destination": mount.target,
            **({"Driver": "local"} if mount.type == "volume" else {}),
            "Mode": _mode(mount),
            "RW": not mount.readonly,
            "Propagation": mount.propagation if mount.type == "bind" else "",
        }
        for mount in container.config.mounts
    ]
