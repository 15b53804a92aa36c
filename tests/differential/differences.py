"""What differs between Docker and Tiffin by intention, or is known to and still open, by the ledger's names.

Keys are the name and the aspect (code, out, err); values the commands, by scenario.
"""

from __future__ import annotations

DIFFERENCES: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("cp-archive", "out"): {
        "lifecycle: files": ("E cp -a box:/home/alice $T/owned && stat -c %u $T/owned",),
    },
    ("device-125", "code"): {
        "options: bad values": ("E run --rm --device /dev/nosuch busybox true",),
    },
    ("engine-125", "code"): {
        "errors: nothing there": ("E exec nosuch true",),
        "errors: usage": ("E exec x",),
        "errors: wrong state": (
            "E exec box true",
            "E create --name box busybox",
            "E exec -u nosuch box true",
            "E exec -w /not/there box true",
        ),
        "lifecycle: exec": ("E exec box",),
        "options: names": (
            "E create --name fine busybox",
            "E create --name 'not fine' busybox",
            "E create --name -x busybox",
            "E create --name x busybox",
            "E create --cidfile $T/cid busybox > /dev/null",
        ),
    },
    ("files-in-etc", "out"): {
        "lifecycle: files": ("E export box | tar t | grep -E '^(dir|etc|new)' | sort",),
        "options: mounts": (
            "E run --rm -v vol:/etc busybox ls /etc",
            "E run --rm -v wol:/etc busybox ls /etc",
            "E run --rm -v xol:/etc:nocopy busybox ls /etc",
            "E run --rm --tmpfs /etc busybox ls /etc",
        ),
    },
    ("format-of-nothing", "code"): {
        "errors: usage": ("E ps --format '{{.Nosuch}}'",),
    },
    ("group-help", "err"): {
        "errors: usage": (
            "E volume",
            "E container",
            "E image",
        ),
    },
    ("group-help", "out"): {
        "errors: usage": (
            "E volume",
            "E container",
            "E image",
        ),
    },
    ("label-file-bare", "out"): {
        "options: labels": ("E inspect -f '{{json .Config.Labels}}' box",),
    },
    ("log-cri", "out"): {
        "listing: inspect": ("E inspect -f '{{.HostConfig.LogConfig.Type}}' box",),
    },
    ("network-none", "out"): {
        "listing: ps": ("E ps -a --format '{{.Names}}' --filter network=none",),
    },
    ("newer-docker", "code"): {
        "errors: wrong state": ("E exec box nosuchcommand",),
        "options: bad values": ("E run --rm --pull nosuch busybox true",),
    },
    ("newer-docker", "err"): {
        "options: bad values": ("E run --rm --pull nosuch busybox true",),
    },
    ("newer-docker", "out"): {
        "errors: wrong state": (
            "E exec box nosuchcommand",
            "E exec box /etc",
            "E exec -u nosuch box true",
            "E exec -w /not/there box true",
        ),
        "listing: volumes": (
            ("E volume inspect -f '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}}' vol wol"),
        ),
    },
    ("no-blank-line", "out"): {
        "listing: inspect": (
            "E inspect -f '{{.Nosuch}}' box",
            "E inspect -f '{{.State.Nosuch}}' box",
            "E inspect -f '{{.State.Status.X}}' box",
            "E inspect -f '{{index .Config.Env 99}}' box",
        ),
    },
    ("no-console", "out"): {
        "effects: device": ("sed -n '/^== cgroup devices$/,/^== /p' $T/probe | sed '1d;/^== /d'",),
        "effects: plain": ("sed -n '/^== cgroup devices$/,/^== /p' $T/probe | sed '1d;/^== /d'",),
    },
    ("open-inspect", "code"): {
        "options: as inspected": (
            (
                "E inspect -f '{{json .HostConfig.RestartPolicy}} {{json .HostConfig.Links}} {{json ."
                "HostConfig.ExtraHosts}} {{json .HostConfig.Dns}} {{json .HostConfig.Runtime}} {{json"
                " .HostConfig.OomScoreAdj}} {{json .HostConfig.MaskedPaths}} {{json .HostConfig.Reado"
                "nlyPaths}}' box"
            ),
            ("E inspect -f '{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Path}} {{json .Args}}' box"),
        ),
    },
    ("open-inspect", "err"): {
        "options: as inspected": (
            (
                "E inspect -f '{{json .HostConfig.RestartPolicy}} {{json .HostConfig.Links}} {{json ."
                "HostConfig.ExtraHosts}} {{json .HostConfig.Dns}} {{json .HostConfig.Runtime}} {{json"
                " .HostConfig.OomScoreAdj}} {{json .HostConfig.MaskedPaths}} {{json .HostConfig.Reado"
                "nlyPaths}}' box"
            ),
            ("E inspect -f '{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Path}} {{json .Args}}' box"),
        ),
    },
    ("open-inspect", "out"): {
        "images: inspect and history": (
            "E image inspect app | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0]))'",
        ),
        "listing: inspect": (
            "E inspect -f '{{.Config.StopSignal}}' box",
            "E inspect box | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0]))'",
            "E inspect box | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0][\"Config\"]))'",
            ("E inspect box | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0][\"HostConfig\"]))'"),
            (
                "E inspect box | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0][\"N"
                "etworkSettings\"]))'"
            ),
        ),
        "options: as inspected": (
            (
                "E inspect -f '{{json .HostConfig.RestartPolicy}} {{json .HostConfig.Links}} {{json ."
                "HostConfig.ExtraHosts}} {{json .HostConfig.Dns}} {{json .HostConfig.Runtime}} {{json"
                " .HostConfig.OomScoreAdj}} {{json .HostConfig.MaskedPaths}} {{json .HostConfig.Reado"
                "nlyPaths}}' box"
            ),
            "E inspect -f '{{json .Config.StopSignal}} {{json .Config.StopTimeout}}' box",
            (
                "E inspect -f '{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Env}} "
                "{{json .Config.StopSignal}}' box"
            ),
            ("E inspect -f '{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Path}} {{json .Args}}' box"),
        ),
    },
    ("open-logs", "out"): {
        "lifecycle: logs": (
            "E logs --tail 0 box",
            "E logs --details box | wc -l",
        ),
    },
    ("open-mounts", "out"): {
        "options: mounts": (
            (
                "E inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Mode}} {{.RW}} {{.Propa"
                "gation}}{{println}}{{end}}' box | sort"
            ),
        ),
    },
    ("open-ps-filters", "code"): {
        "listing: ps": ("E ps -a --format '{{.Names}}' --filter ancestor=nosuch",),
    },
    ("own-words", "err"): {
        "errors: nothing there": (
            "E kill nosuch",
            "E history nosuch",
            "E tag x nosuch",
            "E cp nosuch:/etc .",
            "E cp /etc/passwd nosuch:/",
        ),
        "errors: usage": (
            "E commit",
            "E port",
            "E ps --format '{{.Nosuch}}'",
            "E ps --format '{{'",
            "E ps --filter nosuch=1",
            "E ps --filter x",
            "E images --filter nosuch=1",
            "E volume ls --filter nosuch=1",
            "E logs --tail x nosuch",
            "E stop -t x y",
            "E container nosuch",
            "E inspect --type nosuch x",
            "E ps -n x",
            "E kill -s NOSUCH x",
            "E import /nosuch",
            "E load -i /nosuch",
        ),
        "errors: wrong state": (
            "E unpause box",
            "E kill box",
            "E top box",
            "E rm box",
            "E create --name box busybox",
            "E rename other box",
            "E exec box nosuchcommand",
            "E exec box /etc",
            "E exec -u nosuch box true",
            "E rmi busybox",
            "E update -m 1 box",
            "E cp box:/nosuch $T",
            "E cp $T/busybox.tar box:/no/such/",
            "E cp $T/busybox.tar box:/no/such/file",
            "E cp $T box:/etc/passwd",
            "E top box nosuch",
            "E commit box UPPER",
            "E commit -c 'NOSUCH x' box x",
            "E exec -w /not/there box true",
        ),
        "images: archives": (
            "E load -i $T/busybox.tar",
            "echo nonsense | E load",
            "E import -c 'NOSUCH x' $T/busybox.tar bad",
            "E import $T/busybox.tar BAD",
            "echo nonsense | E import - bad",
        ),
        "images: names": (
            "E images --filter since=nosuch -q",
            "E images --filter dangling=maybe -q",
            "E tag busybox UPPER",
            "E tag busybox 'a b'",
            "E tag busybox x:",
            "E tag busybox -x",
            "E tag nosuch x",
        ),
        "lifecycle: exec": (
            "E top box -o comm,args",
            "E top box -eo user,comm",
        ),
        "lifecycle: files": (
            "echo x | E cp - box:/tmp",
            "E cp box:/proc/version $T/v",
        ),
        "lifecycle: logs": (
            "E logs --tail 2 box",
            "E logs -n 1 box",
            "E logs --since nonsense box",
            "E logs --details box | wc -l",
            "E logs --follow=false box",
        ),
        "lifecycle: update and rename": ("E rename box 'not fine'",),
        "lifecycle: wait and rm": ("E run -d --name box busybox sleep 60 > /dev/null",),
        "listing: inspect": ("E inspect -f '{{.State.Status.X}}' box",),
        "listing: ps": (
            "E ps -a --format '{{.Names}}' --filter status=nosuch",
            "E ps -a --format '{{.Names}}' --filter exited=x",
            "E ps -a --format '{{.Names}}' --filter ancestor=nosuch",
            "E ps -a --format '{{.Names}}' --filter before=nosuch",
            "E ps --format '{{.Nosuch}}'",
            "E ps --format '{{.Names | nosuch}}'",
            "E ps --format '{{range}}'",
        ),
        "listing: volumes": (
            "E volume create 'not fine'",
            "E volume create -d nosuch xol",
            "E volume ls --filter dangling=maybe -q",
        ),
        "options: bad values": (
            "E run --rm -m 1 busybox true",
            "E run --rm -m 64m --memory-swap 32m busybox true",
            "E run --rm --memory-swap 32m busybox true",
            "E run --rm --cpus 1000 busybox true",
            "E run --rm --cpus x busybox true",
            "E run --rm --cpuset-cpus 99 busybox true",
            "E run --rm --cpuset-cpus x busybox true",
            "E run --rm --pids-limit x busybox true",
            "E run --rm --cap-add NOSUCH busybox true",
            "E run --rm --cap-drop NOSUCH busybox true",
            "E run --rm --ulimit nosuch=1 busybox true",
            "E run --rm --ulimit nofile=2:1 busybox true",
            "E run --rm --ulimit nofile=x busybox true",
            "E run --rm --security-opt nosuch=1 busybox true",
            "E run --rm --security-opt seccomp=/nosuch busybox true",
            "E run --rm --device /dev/nosuch busybox true",
            "E run --rm --device /dev/null:/dev/x:q busybox true",
            "E run --rm --sysctl nosuch busybox true",
            "E run --rm --sysctl kernel.panic=1 busybox true",
            "E run --rm --pid nosuch busybox true",
            "E run --rm --ipc nosuch busybox true",
            "E run --rm --uts nosuch busybox true",
            "E run --rm --cgroupns nosuch busybox true",
            "E run --rm --tmpfs relative busybox true",
            "E run --rm -a nosuch busybox true",
            "E run --rm --group-add nosuch busybox true",
            "E run --rm --detach-keys nosuch busybox true",
            "E run --rm -d -a stdout busybox true",
            "E run --rm --rm=maybe busybox true",
            "E run --rm -c -5 busybox true",
        ),
        "options: entry points": (
            "E run --rm --entrypoint '' app",
            "E run --rm -w relative busybox pwd",
        ),
        "options: environment": (
            "E run --rm -e =x busybox true",
            "E run --rm --env-file $T/bad busybox true",
            "E run --rm --env-file $T/nosuch busybox true",
        ),
        "options: exit codes": (
            "E run --rm --pull never nosuchimage true",
            "E run --rm -w /etc/passwd busybox true",
            "E run --rm -u nosuchuser busybox true",
            "E run --rm -u alice:nosuchgroup busybox true",
        ),
        "options: mounts": (
            "E run --rm -v relative/path:/x busybox true",
            "E run --rm -v /x:relative busybox true",
            "E run --rm -v /tmp:/ busybox true",
            "E run --rm -v $T:/x:nosuch busybox true",
            "E run --rm --mount type=bind,src=$T/missing2,dst=/x busybox true",
            "E run --rm --mount type=nosuch,dst=/x busybox true",
            "E run --rm --mount type=bind,dst=/x busybox true",
            "E run --rm -v $T/env2:/etc/passwd busybox true",
            "E run --rm -v $T/bin:/etc/passwd busybox true",
        ),
        "options: names": (
            "E create --name fine busybox",
            "E create --cidfile $T/cid busybox > /dev/null",
        ),
    },
    ("shm-flags", "out"): {
        "effects: host ipc": ("sed -n '/^== mounts$/,/^== /p' $T/probe | sed '1d;/^== /d'",),
    },
    ("sizes", "out"): {
        "listing: inspect": ("E inspect -s -f '{{.SizeRw}}' box",),
    },
    ("start-127", "code"): {
        "lifecycle: start": ("E start box",),
    },
    ("tar-names", "out"): {
        "lifecycle: files": ("E cp box:/new/. - | tar t | sort",),
    },
    ("top-fields", "code"): {
        "lifecycle: exec": (
            "E top box -o comm,args",
            "E top box -eo user,comm",
        ),
    },
    ("top-fields", "out"): {
        "lifecycle: exec": (
            "E top box -o comm,args",
            "E top box -eo user,comm",
        ),
    },
    ("usage-125", "code"): {
        "errors: usage": (
            "E nosuchverb",
            "E start",
            "E stop",
            "E kill",
            "E rm",
            "E exec",
            "E cp",
            "E cp x",
            "E rename x",
            "E tag x",
            "E inspect",
            "E rmi",
            "E logs",
            "E wait",
            "E ps x",
            "E images a b",
            "E import",
            "E save",
            "E commit",
            "E diff",
            "E export",
            "E top",
            "E port",
            "E history",
            "E ps --format '{{'",
            "E ps --filter nosuch=1",
            "E images --filter nosuch=1",
            "E volume ls --filter nosuch=1",
            "E logs --tail x nosuch",
            "E container nosuch",
            "E volume create a b",
            "E update x",
            "E inspect --type nosuch x",
            "E import /nosuch",
            "E load -i /nosuch",
            "E cp a b",
            "E cp a:/x b:/y",
        ),
        "errors: wrong state": (
            "E rename box box",
            "E update -m 1 box",
            "E kill -s NOSUCH box",
            "E kill -s 0 box",
            "E top box nosuch",
            "E commit box UPPER",
            "E commit -c 'NOSUCH x' box x",
        ),
        "images: archives": (
            "E import -c 'NOSUCH x' $T/busybox.tar bad",
            "E import $T/busybox.tar BAD",
        ),
        "images: names": (
            "E images --filter dangling=maybe -q",
            "E tag busybox UPPER",
            "E tag busybox 'a b'",
            "E tag busybox x:",
            "E tag busybox -x",
        ),
        "lifecycle: logs": ("E logs --since nonsense box",),
        "lifecycle: update and rename": (
            "E rename box 'not fine'",
            "E rename box ''",
        ),
        "listing: inspect": (
            "E inspect -f '{{.Nosuch}}' box",
            "E inspect -f '{{.State.Nosuch}}' box",
            "E inspect -f '{{nosuch}}' box",
            "E inspect -f '{{' box",
            "E inspect -f '{{.State.Status.X}}' box",
            "E inspect -f '{{index .Config.Env 99}}' box",
        ),
        "listing: ps": (
            "E ps -a --format '{{.Names}}' --filter status=nosuch",
            "E ps -a --format '{{.Names}}' --filter exited=x",
            "E ps --format '{{.Nosuch}}'",
            "E ps --format '{{.Names | nosuch}}'",
            "E ps --format '{{range}}'",
        ),
        "listing: volumes": (
            "E volume create 'not fine'",
            "E volume create -d nosuch xol",
            "E volume ls --filter dangling=maybe -q",
        ),
        "options: bad values": (
            "E run --rm --detach-keys nosuch busybox true",
            "E run --rm -d -a stdout busybox true",
        ),
        "options: exit codes": ("E run",),
        "options: streams": ("E run --rm -it busybox tty < /dev/null",),
    },
}
