"""Options of run and create: what they take, what they refuse, and with which exit codes."""

from __future__ import annotations

RUN = "E run --rm"


def _inspect(options: str, field: str, image: str = "busybox") -> list[str]:
    return [
        f"E create --name box {options} {image} > /dev/null",
        f"E inspect -f '{field}' box",
        "E rm box",
    ]


def _host(options: str, *fields: str) -> list[str]:
    """How HostConfig shows `options`."""
    template = " ".join(f"{{{{json .HostConfig.{field}}}}}" for field in fields)
    return _inspect(options, template)


SCENARIOS = {
    "exit codes": [
        f"{RUN} busybox true",
        f"{RUN} busybox false",
        f"{RUN} busybox sh -c 'exit 42'",
        f"{RUN} busybox sh -c 'exit 255'",
        f"{RUN} busybox sh -c 'kill -9 $$'",
        f"{RUN} busybox sh -c 'kill -TERM $$; echo on'",
        f"{RUN} --init busybox sh -c 'kill -TERM $$; echo on'",
        f"{RUN} busybox nosuchcommand",
        f"{RUN} busybox /etc/passwd",
        f"{RUN} busybox /etc",
        f"{RUN} --pull never nosuchimage true",
        f"{RUN} --nosuchoption busybox true",
        f"{RUN} -w /etc/passwd busybox true",
        f"{RUN} -u nosuchuser busybox true",
        f"{RUN} -u alice:nosuchgroup busybox true",
        f"{RUN} busybox sh -c 'echo out; echo err >&2; exit 3'",
        "E run",
        f"{RUN} -d busybox true > /dev/null",
    ],
    "streams": [
        f"{RUN} busybox echo hello",
        f"{RUN} busybox sh -c 'echo err >&2'",
        f"{RUN} -a stdout busybox sh -c 'echo out; echo err >&2'",
        f"{RUN} -a stderr busybox sh -c 'echo out; echo err >&2'",
        f"echo in | {RUN} -i busybox cat",
        f"echo in | {RUN} busybox cat",
        f"echo in | {RUN} -i -a stdin -a stdout busybox cat",
        f"{RUN} busybox printf 'no newline'",
        f"{RUN} busybox head -c 100000 /dev/zero | wc -c",
        f"seq 20000 | {RUN} -i busybox md5sum",
        f"{RUN} -t busybox tty",
        f"{RUN} -it busybox tty < /dev/null",
        f"{RUN} -t busybox echo line | od -c | head -2",
    ],
    "entry points": [
        f"{RUN} app",
        f"{RUN} app three",
        f"{RUN} --entrypoint env app | grep PLACE",
        f"{RUN} --entrypoint '' app sh -c 'echo $GREETING'",
        f"{RUN} --entrypoint '' app",
        f"{RUN} --entrypoint pwd app",
        f"{RUN} --entrypoint /bin/ls busybox -d /",
        f"{RUN} -w relative busybox pwd",
        f"{RUN} -w /new/dir busybox pwd",
    ],
    "environment": [
        f"{RUN} -e A=1 -e A=2 busybox sh -c 'echo $A'",
        f"{RUN} -e A= busybox env | grep ^A",
        f"{RUN} -e FROM_HOST busybox sh -c 'echo $FROM_HOST'",
        f"{RUN} -e =x busybox true",
        "printf 'A=1\\n# comment\\n\\nB=two words\\nFROM_HOST\\n' > $T/env",
        f"{RUN} --env-file $T/env busybox env | grep -E '^(A|B|FROM)' | sort",
        f"{RUN} --env-file $T/env -e A=9 busybox sh -c 'echo $A'",
        "printf 'A B=1\\n' > $T/bad",
        f"{RUN} --env-file $T/bad busybox true",
        f"{RUN} --env-file $T/nosuch busybox true",
        f"{RUN} -h box busybox sh -c 'echo $HOSTNAME'",
        f"{RUN} -u alice busybox sh -c 'echo $HOME'",
        f"{RUN} -t busybox sh -c 'echo $TERM'",
    ],
    "labels": [
        *_inspect("-l a=1 -l b -l a=2", "{{json .Config.Labels}}"),
        *_inspect("-l team=b", "{{json .Config.Labels}}", "app"),
        "printf 'x=1\\ny\\n' > $T/labels",
        *_inspect("--label-file $T/labels", "{{json .Config.Labels}}"),
    ],
    "names": [
        "E create --name fine busybox > /dev/null",
        "E create --name fine busybox",
        "E create --name 'not fine' busybox",
        "E create --name -x busybox",
        "E create --name x busybox",
        "E create --name /slash busybox > /dev/null",
        "E inspect -f '{{.Name}}' fine slash",
        "E create --cidfile $T/cid busybox > /dev/null; wc -c < $T/cid",
        "E create --cidfile $T/cid busybox > /dev/null",
        "E rm fine slash $(cat $T/cid) | wc -l",
        "rm -f $T/cid",
    ],
    "bad values": [
        f"{RUN} -m 1 busybox true",
        f"{RUN} -m lots busybox true",
        f"{RUN} -m 64m --memory-swap 32m busybox true",
        f"{RUN} --memory-swap 32m busybox true",
        f"{RUN} --cpus 1000 busybox true",
        f"{RUN} --cpus x busybox true",
        f"{RUN} --cpuset-cpus 99 busybox true",
        f"{RUN} --cpuset-cpus x busybox true",
        f"{RUN} --pids-limit x busybox true",
        f"{RUN} --cap-add NOSUCH busybox true",
        f"{RUN} --cap-drop NOSUCH busybox true",
        f"{RUN} --ulimit nosuch=1 busybox true",
        f"{RUN} --ulimit nofile=2:1 busybox true",
        f"{RUN} --ulimit nofile=x busybox true",
        f"{RUN} --security-opt nosuch=1 busybox true",
        f"{RUN} --security-opt seccomp=/nosuch busybox true",
        f"{RUN} --device /dev/nosuch busybox true",
        f"{RUN} --device /dev/null:/dev/x:q busybox true",
        f"{RUN} --sysctl nosuch busybox true",
        f"{RUN} --sysctl kernel.panic=1 busybox true",
        f"{RUN} --pid nosuch busybox true",
        f"{RUN} --ipc nosuch busybox true",
        f"{RUN} --uts nosuch busybox true",
        f"{RUN} --cgroupns nosuch busybox true",
        f"{RUN} --tmpfs relative busybox true",
        f"{RUN} --shm-size x busybox true",
        f"{RUN} --shm-size 0 busybox df /dev/shm",
        f"{RUN} --stop-signal NOSUCH busybox true",
        f"{RUN} --pull nosuch busybox true",
        f"{RUN} -a nosuch busybox true",
        f"{RUN} -l '' busybox true",
        f"{RUN} --group-add nosuch busybox true",
        f"{RUN} -h 'not a host name' busybox true",
        f"{RUN} --detach-keys nosuch busybox true",
        f"{RUN} -d -a stdout busybox true",
        f"{RUN} --rm=maybe busybox true",
        f"{RUN} -c -5 busybox true",
        f"{RUN} --volumes-from nosuch busybox true",
    ],
    "mounts": [
        f"{RUN} -v relative/path:/x busybox true",
        f"{RUN} -v /x:relative busybox true",
        f"{RUN} -v /tmp:/ busybox true",
        f"{RUN} -v $T:/x:nosuch busybox true",
        f"{RUN} -v $T:/x:ro busybox touch /x/y",
        f"{RUN} -v $T:/x busybox touch /x/made; ls $T/made",
        f"{RUN} -v $T/missing:/x busybox ls -d /x; ls -d $T/missing",
        f"{RUN} --mount type=bind,src=$T/missing2,dst=/x busybox true",
        f"{RUN} --mount type=bind,src=$T,dst=/x,ro busybox touch /x/y",
        f"{RUN} --mount type=nosuch,dst=/x busybox true",
        f"{RUN} --mount type=tmpfs,dst=/x,tmpfs-size=1m busybox df -k /x | awk 'NR == 2 {{ print $2 }}'",
        f"{RUN} --mount type=tmpfs busybox true",
        f"{RUN} --mount type=bind,dst=/x busybox true",
        f"{RUN} --mount type=volume,src=vol,dst=/x busybox ls -d /x",
        "E volume ls -q",
        f"{RUN} -v vol:/x busybox sh -c 'echo kept > /x/f'",
        f"{RUN} -v vol:/x:ro busybox cat /x/f",
        f"{RUN} -v vol:/etc busybox ls /etc",
        f"{RUN} -v wol:/etc busybox ls /etc",
        f"{RUN} -v xol:/etc:nocopy busybox ls /etc",
        f"{RUN} -v $T:/x -v /tmp:/x busybox true",
        f"{RUN} --tmpfs /etc busybox ls /etc",
        f"{RUN} -v $T/env2:/etc/passwd busybox true",
        f"{RUN} -v $T/bin:/etc/passwd busybox true",
        f"{RUN} -v /etc/hostname:/etc/group:ro busybox wc -l /etc/group",
        "E create --name box -v /anonymous -v vol:/named -v $T:/bound:ro --tmpfs /t busybox > /dev/null",
        "E inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Mode}} {{.RW}} {{.Propagation}}{{println}}"
        "{{end}}' box | sort",
        "E inspect -f '{{json .HostConfig.Binds}} {{json .HostConfig.Tmpfs}}' box",
        "E run --rm --volumes-from box busybox ls -d /anonymous /named /bound",
        "E run --rm --volumes-from box:ro busybox touch /named/x",
        "E volume rm vol",
        "E rm -v box",
        "E volume ls -q | wc -l",
    ],
    "as inspected": [
        *_host("-m 64m", "Memory", "MemorySwap", "MemoryReservation"),
        *_host("-m 64m --memory-swap 128m --memory-reservation 16m", "Memory", "MemorySwap", "MemoryReservation"),
        *_host(
            "--cpus 1.5 -c 100 --cpuset-cpus 0 --cpuset-mems 0", "NanoCpus", "CpuShares", "CpusetCpus", "CpusetMems"
        ),
        *_host("--cap-add SYS_TIME --cap-add net_admin --cap-drop chown", "CapAdd", "CapDrop"),
        *_host("--privileged --read-only --rm --init", "Privileged", "ReadonlyRootfs", "AutoRemove", "Init"),
        *_host("--pids-limit 5 --shm-size 1m", "PidsLimit", "ShmSize"),
        *_host(
            "--pid host --ipc host --uts host --network host --cgroupns host",
            "PidMode",
            "IpcMode",
            "UTSMode",
            "CgroupnsMode",
        ),
        *_host("--security-opt no-new-privileges --group-add 5", "SecurityOpt", "GroupAdd"),
        *_host("--sysctl kernel.msgmax=1", "Sysctls"),
        *_host("--device /dev/null:/dev/x:r", "Devices"),
        *_host(
            "", "Memory", "NanoCpus", "CapAdd", "CapDrop", "Privileged", "Binds", "PidMode", "UTSMode", "SecurityOpt"
        ),
        *_host(
            "", "AutoRemove", "ReadonlyRootfs", "Ulimits", "Devices", "GroupAdd", "ShmSize", "PidsLimit", "VolumesFrom"
        ),
        *_host(
            "", "RestartPolicy", "Links", "ExtraHosts", "Dns", "Runtime", "OomScoreAdj", "MaskedPaths", "ReadonlyPaths"
        ),
        *_inspect("-i", "{{json .Config}}".replace("json .Config", "json .Config.OpenStdin")),
        *_inspect(
            "-it -h box -u alice -w /x -e A=1",
            "{{.Config.Tty}} {{.Config.Hostname}} {{.Config.User}} {{.Config.WorkingDir}} {{json .Config.Cmd}}",
        ),
        *_inspect("--stop-signal INT --stop-timeout 3", "{{json .Config.StopSignal}} {{json .Config.StopTimeout}}"),
        *_inspect(
            "",
            "{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Env}} {{json .Config.StopSignal}}",
            "app",
        ),
        *_inspect("", "{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Path}} {{json .Args}}", "app"),
        *_inspect(
            "",
            "{{json .State.Status}} {{json .State.Running}} {{json .State.ExitCode}} {{.State.StartedAt}}"
            " {{.State.Pid}}",
        ),
        *_inspect(
            "", "{{len .Id}} {{.Driver | len | ne 0}} {{.Platform}} {{.RestartCount}} {{json .ExecIDs}} {{.MountLabel}}"
        ),
    ],
}
