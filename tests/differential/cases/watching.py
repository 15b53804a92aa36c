"""What is told of containers in use: events, figures, filters of ps, and what is shared between containers."""

from __future__ import annotations

RUN = "E run --rm"
NAMES = "--format '{{.Names}}' | sort"
BETWEEN = '--since "$(cat $T/since)" --until "$(date +%s)"'


def _events(options: str = "", what: str = "{{.Type}} {{.Action}}") -> str:
    return f"E events {BETWEEN} {options} --format '{what}'"


def _share(options: str, look: str) -> str:
    """What a container sees that shares something with `box`."""
    return f"{RUN} {options} busybox sh -c '{look}'"


SCENARIOS = {
    "events": [
        "sleep 1.1; date +%s > $T/since",  # what was before ended in another second
        "E run --name box -l team=a busybox sh -c 'exit 3'",
        "E rename box other; E start other > /dev/null; E wait other > /dev/null",
        "E run -d --name up busybox sleep 600 > /dev/null",
        "E exec up true; E pause up; E unpause up; E kill -s CONT up; E update -m 64m --memory-swap 64m up; sleep 0.3",
        "E restart -t 0 up; E stop -t 0 up; E cp /etc/hostname up:/x; E cp up:/x - > /dev/null; E rm other; E rm up",
        "E volume create vol; E tag busybox tagged; E rmi tagged; E volume rm vol; sleep 1.1",
        _events("--filter type=container --filter container=other"),
        _events("--filter type=container", "{{.Action}} {{.Actor.Attributes.name}}"),
        _events("--filter event=die", "{{.Status}} {{.Actor.Attributes.exitCode}} {{.Actor.Attributes.image}}"),
        _events("--filter event=kill", "{{.Actor.Attributes.signal}}"),
        _events("--filter event=rename", "{{.Actor.Attributes.oldName}} {{.Actor.Attributes.name}}"),
        _events("--filter event=exec_create"),
        _events("--filter event=exec_die", "{{.Action}} {{.Actor.Attributes.exitCode}}"),
        _events("--filter label=team=a", "{{.Action}} {{.Actor.Attributes.team}}"),
        _events("--filter type=volume", "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.driver}}"),
        _events("--filter type=image", "{{.Action}} {{.Actor.Attributes.name}}"),
        _events("--filter type=container --filter event=start --filter event=stop", "{{.Action}}"),
        _events("--filter container=nosuch"),
        _events("--filter scope=local --filter event=create --filter type=container", "{{.Scope}} {{.From}}"),
        _events("--filter event=destroy", "{{json .Actor.Attributes}}"),
        f"E events {BETWEEN} --filter event=create --filter type=container"
        " | sed -E 's/[0-9a-f]{64}/ID/; s/^[^ ]+ //'",
        f"E events {BETWEEN} --filter event=start --format '{{{{json .}}}}'"
        " | python3 -c 'import json,sys; [print(sorted(json.loads(line))) for line in sys.stdin]'",
        _events("--filter nosuch=1"),
        _events("--filter x"),
        _events("--filter type=nosuch"),
        _events("", "{{.Nosuch}}"),
        _events("", "{{"),
        "E events --since nonsense --until 1",
        "E events --until nonsense",
        "E events x",
    ],
    "figures": [
        "E run -d --name box busybox sleep 600 > /dev/null; E create --name made busybox > /dev/null",
        "E stats --no-stream --format '{{.Name}}'",
        "E stats --no-stream -a --format '{{.Name}}' | sort",
        "E stats --no-stream --format '{{.Container}}' box",
        "E stats --no-stream --no-trunc --format '{{.ID}}' box | wc -c",
        "E stats --no-stream box | head -1",
        "E stats --no-stream --format '{{json .}}' box"
        " | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)))'",
        "E stats --no-stream --format '{{.Name}} {{.CPUPerc}}' made",
        "E stats --no-stream nosuch",
        "E stats --no-stream --format '{{.Nosuch}}' box",
        "E stats --nosuch",
    ],
    "filters of ps": [
        "E run -d --name up -e A=1 busybox sleep 600 > /dev/null; E run -d --name late app sleep 600 > /dev/null 2>&1",
        "E tag busybox other:1; E create --name made other:1 > /dev/null",
        *(
            f"E ps -a --filter {each} {NAMES}"
            for each in (
                "ancestor=busybox",
                "ancestor=busybox:latest",
                "ancestor=other:1",
                "ancestor=app",
                "ancestor=$(E images -q --no-trunc busybox)",
                "ancestor=$(E images -q busybox)",
                "ancestor=nosuch:1",
                "health=none",
                "health=starting",
                "publish=80",
                "publish=80-81/udp",
                "publish=x",
                "expose=80",
                "expose=80/tcp",
                "expose=81",
                "is-task=false",
                "is-task=true",
                "is-task=x",
                "isolation=default",
                "status=dead",
                "status=removing",
                "status=restarting",
                "name=up --filter name=late",
                "nosuch=1",
                "x",
                "=x",
            )
        ),
        "E rmi other:1 > /dev/null; E ps -a --filter name=made --format '{{.Image}}'",
    ],
    "namespaces shared": [
        "E run -d --name box --ipc shareable -h there busybox sleep 600 > /dev/null",
        _share("--pid container:box", "cut -d\\  -f2 /proc/1/stat; set -- /proc/[0-9]*; echo $#"),
        _share("--ipc container:box", "df /dev/shm | wc -l"),
        "E exec box sh -c 'echo shared > /dev/shm/x'",
        _share("--ipc container:box", "cat /dev/shm/x"),
        _share("--network container:box", "hostname; cat /etc/hostname; ls /sys/class/net"),
        "for kind in pid ipc net; do test $(E exec box readlink /proc/self/ns/$kind) ="
        " $(E run --rm --pid container:box --ipc container:box --network container:box busybox"
        " readlink /proc/self/ns/$kind) && echo $kind; done",
        "E create --name see --pid container:box --ipc container:box --network container:box busybox > /dev/null",
        "E inspect -f '{{.HostConfig.PidMode}} {{.HostConfig.IpcMode}} {{.HostConfig.NetworkMode}}' see"
        " | sed -E 's/<ID>|[0-9a-f]{64}/box/g'",
        "E rm see > /dev/null",
        _share("--network container:box -h mine", "true"),
        _share("--network container:box --pid container:nosuch", "true"),
        _share("--ipc container:nosuch", "true"),
        _share("--network container:nosuch", "true"),
        _share("--pid container:", "true"),
        _share("--ipc container:", "true"),
        _share("--network container:", "true"),
        _share("--uts container:box", "true"),
        _share("--cgroupns container:box", "true"),
        _share("--userns container:box", "true"),
        *(f"E create --{kind} container:nosuch busybox | wc -l" for kind in ("pid", "ipc", "network")),
        "E run -d --name own --ipc private busybox sleep 600 > /dev/null",
        _share("--ipc container:own", "true"),
        _share("--ipc none", "ls -d /dev/shm; grep -c /dev/shm /proc/self/mounts"),
        "E stop -t 0 box > /dev/null",
        _share("--pid container:box", "true"),
        _share("--ipc container:box", "true"),
        _share("--network container:box", "true"),
    ],
    "user namespaces": [
        f"{RUN} --userns host busybox cat /proc/self/uid_map",
        "E create --name box --userns host busybox > /dev/null; E inspect -f '{{.HostConfig.UsernsMode}}' box",
        f"{RUN} --userns nosuch busybox true",
    ],
    "pruning": [
        "E create --name made busybox > /dev/null; E run --name ended busybox true;"
        " E run -d --name up busybox sleep 600 > /dev/null",
        "E container prune -f | grep -c '<ID>\\|^[0-9a-f]\\{64\\}$'",
        f"E ps -a {NAMES}",
        "E container prune -f",
        "echo n | E container prune",
        "echo y | E container prune | tail -1",
        "E volume create vol; E volume prune -f | tail -1; E image prune -f; E volume prune --nosuch",
        "E system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'",
        "E system df | head -1",
        "E system df | awk '{ print $1 }'",
        "E system df -v | grep -v '^$' | grep -E 'space usage|^[A-Z]' | head -20",
        "E system df --format '{{.Nosuch}}'",
        "E system df x",
        "E system prune x",
        "E container prune x",
        "E info --format '{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}'",
        "E info --format '{{.OSType}} {{.Architecture}} {{.NCPU}} {{.MemTotal}}'",
        "E info --format '{{.KernelVersion}} {{.CgroupVersion}} {{.Name}}'",
        "E info --format '{{.Images}}'",
        "E info --format '{{.Nosuch}}'",
        "E info x",
        "E version --format '{{.Client.Os}}/{{.Client.Arch}}'",
        "E version --format '{{.Nosuch}}'",
    ],
    "mount grammar": [
        f"{RUN} --mount {words} busybox true"
        for words in (
            "''",
            "x",
            "type",
            "type=",
            "nosuch=1",
            "type=bind",
            "type=bind,src=$T",
            "type=bind,src=relative,dst=/x",
            "type=bind,src=$T,dst=relative",
            "type=bind,src=$T,dst=/",
            "type=bind,src=$T,dst=/x,readonly=maybe",
            "type=bind,src=$T,dst=/x,nosuch",
            "type=bind,src=$T,dst=/x,volume-nocopy",
            "type=bind,src=$T,dst=/x,tmpfs-size=1m",
            "type=bind,src=$T,dst=/x,bind-propagation=nosuch",
            "type=volume,src=vol,dst=/x,bind-propagation=private",
            "type=volume,src=vol,dst=/x,tmpfs-mode=700",
            "type=volume,src='not fine',dst=/x",
            "type=volume,src=/abs,dst=/x",
            "type=tmpfs,src=x,dst=/x",
            "type=tmpfs,dst=/x,tmpfs-size=lots",
            "type=tmpfs,dst=/x,tmpfs-mode=9",
            "type=tmpfs,dst=/x,bind-nonrecursive",
            "type=tmpfs,dst=/x,readonly",
            "type=npipe,src=x,dst=/x",
            "type=tmpfs,dst=/x --mount type=tmpfs,dst=/x",
            "'type=tmpfs,\"dst=/x y\"'",
        )
    ],
}
