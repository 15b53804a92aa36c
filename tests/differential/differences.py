"""What differs between Docker and Tiffin by intention, or is known to and still open, by the ledger's names.

Keys are the name and the aspect (code, out, err); values the commands, by scenario.
"""

from __future__ import annotations

DIFFERENCES: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("cap-names", "out"): {
        "options: as inspected": ("E inspect -f '{{json .HostConfig.CapAdd}} {{json .HostConfig.CapDrop}}' box",),
    },
    ("container-namespaces", "code"): {
        "watching: namespaces shared": (
            "E run --rm --uts container:box busybox sh -c 'true'",
            "E run --rm --cgroupns container:box busybox sh -c 'true'",
            "E run --rm --userns container:box busybox sh -c 'true'",
        ),
    },
    ("container-namespaces", "err"): {
        "watching: namespaces shared": (
            "E run --rm --uts container:box busybox sh -c 'true'",
            "E run --rm --cgroupns container:box busybox sh -c 'true'",
            "E run --rm --userns container:box busybox sh -c 'true'",
        ),
    },
    ("cp-archive", "out"): {
        "lifecycle: files": ("E cp -a box:/home/alice $T/owned && stat -c %u $T/owned",),
    },
    ("create-125", "code"): {
        "policies: restart policies": (
            "E create --restart nosuch busybox true",
            "E create --restart on-failure:-1 busybox true",
            "E create --restart always:3 busybox true",
        ),
    },
    ("device-125", "code"): {
        "options: bad values": ("E run --rm --device /dev/nosuch busybox true",),
    },
    ("df-rows", "out"): {
        "watching: pruning": (
            "E system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'",
            "E system df | awk '{ print $1 }'",
        ),
    },
    ("df-verbose", "out"): {
        "watching: pruning": ("E system df -v | grep -v '^$' | grep -E 'space usage|^[A-Z]' | head -20",),
    },
    ("donor-at-create", "err"): {
        "watching: namespaces shared": ("E create --network container:nosuch busybox | wc -l",),
    },
    ("donor-at-create", "out"): {
        "watching: namespaces shared": ("E create --network container:nosuch busybox | wc -l",),
    },
    ("events-filter", "code"): {
        "watching: events": (
            (
                'E events --since "$(cat $T/since)" --until "$(date +%s)" --filter nosuch=1 --format \''
                "{{.Type}} {{.Action}}'"
            ),
        ),
    },
    ("events-filter", "err"): {
        "watching: events": (
            (
                'E events --since "$(cat $T/since)" --until "$(date +%s)" --filter nosuch=1 --format \''
                "{{.Type}} {{.Action}}'"
            ),
        ),
    },
    ("events-filter", "out"): {
        "watching: events": (
            (
                'E events --since "$(cat $T/since)" --until "$(date +%s)" --filter nosuch=1 --format \''
                "{{.Type}} {{.Action}}'"
            ),
        ),
    },
    ("exec-errors", "err"): {
        "errors: wrong state": (
            "E exec box nosuchcommand",
            "E exec box /etc",
            "E exec -u nosuch box true",
            "E exec -w /not/there box true",
        ),
    },
    ("exec-errors", "out"): {
        "errors: wrong state": (
            "E exec box nosuchcommand",
            "E exec box /etc",
            "E exec -u nosuch box true",
            "E exec -w /not/there box true",
        ),
    },
    ("exec-user", "code"): {
        "errors: wrong state": ("E exec -u nosuch box true",),
    },
    ("expose-of-image", "out"): {
        "watching: filters of ps": (
            "E ps -a --filter expose=80 --format '{{.Names}}' | sort",
            "E ps -a --filter expose=80/tcp --format '{{.Names}}' | sort",
        ),
    },
    ("files-in-etc", "out"): {
        "options: mounts": (
            "E run --rm -v vol:/etc busybox ls /etc",
            "E run --rm -v wol:/etc busybox ls /etc",
            "E run --rm -v xol:/etc:nocopy busybox ls /etc",
            "E run --rm --tmpfs /etc busybox ls /etc",
        ),
        "lifecycle: files": ("E export box | tar t | grep -E '^(dir|etc|new)' | sort",),
    },
    ("format-of-nothing", "code"): {
        "errors: usage": ("E ps --format '{{.Nosuch}}'",),
    },
    ("format-of-nothing", "err"): {
        "errors: usage": ("E ps --format '{{.Nosuch}}'",),
    },
    ("go-words", "err"): {
        "options: exit codes": ("E run --rm -w /etc/passwd busybox true",),
        "options: bad values": (
            "E run --rm --cpus x busybox true",
            "E run --rm --pids-limit x busybox true",
            "E run --rm --security-opt seccomp=/nosuch busybox true",
            "E run --rm --rm=maybe busybox true",
            "E run --rm -c -5 busybox true",
        ),
        "options: mounts": (
            "E run --rm -v $T/env2:/etc/passwd busybox true",
            "E run --rm -v $T/bin:/etc/passwd busybox true",
        ),
        "lifecycle: files": ("echo x | E cp - box:/tmp",),
        "errors: usage": (
            "E stop -t x y",
            "E ps -n x",
            "E import /nosuch",
            "E load -i /nosuch",
        ),
        "listing: ps": (
            "E ps -a --format '{{.Names}}' --filter exited=x",
            "E ps --format '{{.Nosuch}}'",
        ),
        "listing: inspect": ("E inspect -f '{{.State.Status.X}}' box",),
        "images: archives": (
            "E load -i $T/busybox.tar",
            "echo nonsense | E load",
            "echo nonsense | E import - bad",
        ),
        "policies: health": (
            "E run --rm --health-interval x --health-cmd true busybox true",
            "E run --rm --health-retries x --health-cmd true busybox true",
        ),
        "policies: logs refused": ("E run --rm --log-driver json-file --log-opt max-file=x busybox true",),
        "watching: figures": ("E stats --no-stream --format '{{.Nosuch}}' box",),
        "watching: filters of ps": ("E ps -a --filter publish=x --format '{{.Names}}' | sort",),
        "watching: pruning": (
            "E system df --format '{{.Nosuch}}'",
            "E info --format '{{.Nosuch}}'",
            "E version --format '{{.Nosuch}}'",
        ),
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
    ("image-as-given", "out"): {
        "watching: filters of ps": ("E rmi other:1 > /dev/null; E ps -a --filter name=made --format '{{.Image}}'",),
    },
    ("stats-more", "out"): {
        "watching: figures": (
            "E stats --no-stream --format '{{json .}}' box"
            " | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)))'",
        ),
    },
    ("inspect-more", "out"): {
        "listing: inspect": (
            "E inspect box | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0]))'",
            "E inspect box | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0][\"Config\"]))'",
            ("E inspect box | python3 -c 'import json,sys; print(sorted(json.load(sys.stdin)[0][\"HostConfig\"]))'"),
        ),
    },
    ("label-file-bare", "out"): {
        "options: labels": ("E inspect -f '{{json .Config.Labels}} {{len .Config.Labels}}' box",),
    },
    ("log-cri", "out"): {
        "listing: inspect": ("E inspect -f '{{.HostConfig.LogConfig.Type}}' box",),
    },
    ("log-sizes", "err"): {
        "policies: logs refused when created": (
            "E create --log-driver json-file --log-opt max-size=x busybox | wc -l",
        ),
    },
    ("log-sizes", "out"): {
        "policies: logs refused when created": (
            "E create --log-driver json-file --log-opt max-size=x busybox | wc -l",
        ),
    },
    ("masks", "out"): {
        "options: as inspected": ("E inspect -f '{{json .HostConfig.MaskedPaths}}' box",),
    },
    ("mounts-as-asked", "out"): {
        "options: mounts": (
            (
                "E inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Mode}} {{.RW}} {{.Propag"
                "ation}}{{println}}{{end}}' box | sort"
            ),
        ),
    },
    ("name-as-given", "err"): {
        "errors: wrong state": (
            "E container exec box true",
            "E container pause box",
            "E unpause box",
            "E kill box",
            "E top box",
            "E rm box",
        ),
        "policies: restarting": ("E update --restart always box",),
        "watching: namespaces shared": (
            "E run --rm --ipc container:own busybox sh -c 'true'",
            "E run --rm --pid container:box busybox sh -c 'true'",
            "E run --rm --ipc container:box busybox sh -c 'true'",
            "E run --rm --network container:box busybox sh -c 'true'",
        ),
    },
    ("network-none", "out"): {
        "listing: ps": (
            "E ps -a --format '{{.Networks}}' | sort -u",
            "E ps -a --format '{{.Names}}' --filter network=none",
        ),
    },
    ("newer-docker", "code"): {
        "options: bad values": ("E run --rm --pull nosuch busybox true",),
        "errors: wrong state": ("E exec box nosuchcommand",),
    },
    ("newer-docker", "err"): {
        "options: bad values": ("E run --rm --pull nosuch busybox true",),
    },
    ("newer-docker", "out"): {
        "listing: volumes": (
            "E volume inspect -f '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}}' vol wol",
        ),
    },
    ("no-blank-line", "out"): {
        "listing: inspect": (
            "E inspect -f '{{.Nosuch}}' box",
            "E inspect -f '{{.State.Nosuch}}' box",
            "E inspect -f '{{.State.Status.X}}' box",
            "E inspect -f '{{index .Config.Env 99}}' box",
        ),
        "watching: pruning": (
            "E info --format '{{.Nosuch}}'",
            "E version --format '{{.Nosuch}}'",
        ),
    },
    ("no-console", "out"): {
        "effects: plain": ("sed -n '/^== cgroup devices$/,/^== /p' $T/probe | sed '1d;/^== /d'",),
        "effects: device": ("sed -n '/^== cgroup devices$/,/^== /p' $T/probe | sed '1d;/^== /d'",),
    },
    ("not-built", "code"): {
        "errors: wrong state": ("E top box nosuch",),
    },
    ("not-built", "err"): {
        "errors: wrong state": ("E top box nosuch",),
    },
    ("own-words", "err"): {
        "options: exit codes": (
            "E run --rm --pull never nosuchimage true",
            "E run --rm -u nosuchuser busybox true",
            "E run --rm -u alice:nosuchgroup busybox true",
        ),
        "options: entry points": (
            "E run --rm --entrypoint '' app",
            "E run --rm -w relative busybox pwd",
        ),
        "options: environment": ("E run --rm --env-file $T/bad busybox true",),
        "options: names": (
            "E create --name fine busybox",
            "E create --cidfile $T/cid busybox > /dev/null",
        ),
        "options: bad values": (
            "E run --rm -m 1 busybox true",
            "E run --rm -m 64m --memory-swap 32m busybox true",
            "E run --rm --memory-swap 32m busybox true",
            "E run --rm --cpus 1000 busybox true",
            "E run --rm --cpuset-cpus 99 busybox true",
            "E run --rm --cpuset-cpus x busybox true",
            "E run --rm --cap-add NOSUCH busybox true",
            "E run --rm --cap-drop NOSUCH busybox true",
            "E run --rm --security-opt nosuch=1 busybox true",
            "E run --rm --device /dev/null:/dev/x:q busybox true",
            "E run --rm --sysctl nosuch busybox true",
            "E run --rm --sysctl kernel.panic=1 busybox true",
            "E run --rm --pid nosuch busybox true",
            "E run --rm --ipc nosuch busybox true",
            "E run --rm --uts nosuch busybox true",
            "E run --rm --cgroupns nosuch busybox true",
            "E run --rm -a nosuch busybox true",
            "E run --rm --group-add nosuch busybox true",
            "E run --rm --detach-keys nosuch busybox true",
            "E run --rm -d -a stdout busybox true",
        ),
        "options: mounts": ("E run --rm -v relative/path:/x busybox true",),
        "lifecycle: logs": ("E logs --since nonsense box",),
        "lifecycle: update and rename": ("E rename box 'not fine'",),
        "lifecycle: files": ("E cp box:/proc/version $T/v",),
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
            "E ps --format '{{'",
            "E logs --tail x nosuch",
            "E container nosuch",
            "E inspect --type nosuch x",
            "E kill -s NOSUCH x",
        ),
        "errors: wrong state": (
            "E container attach box",
            "E create --name box busybox",
            "E rename other box",
            "E rmi busybox",
            "E update -m 1 box",
            "E cp box:/nosuch $T",
            "E cp $T/busybox.tar box:/no/such/",
            "E cp $T/busybox.tar box:/no/such/file",
            "E cp $T box:/etc/passwd",
            "E commit box UPPER",
            "E commit -c 'NOSUCH x' box x",
        ),
        "listing: ps": (
            "E ps -a --format '{{.Names}}' --filter before=nosuch",
            "E ps --format '{{.Names | nosuch}}'",
            "E ps --format '{{range}}'",
        ),
        "listing: volumes": (
            "E volume create 'not fine'",
            "E volume ls --filter dangling=maybe -q",
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
        "images: archives": (
            "E import -c 'NOSUCH x' $T/busybox.tar bad",
            "E import $T/busybox.tar BAD",
        ),
        "policies: restart policies": (
            "E create --restart nosuch busybox true",
            "E create --restart on-failure:x busybox true",
            "E create --restart on-failure:-1 busybox true",
            "E create --restart always:3 busybox true",
            "E create --restart on-failure:1:2 busybox true",
            "E run --rm --restart always busybox true",
        ),
        "policies: restarting": ("E update --restart nosuch box",),
        "policies: health": ("E ps --filter health=nosuch --format '{{.Names}}'",),
        "policies: logs refused": (
            "E run --rm --log-driver json-file --log-opt max-size=x busybox true",
            "E run --rm --log-driver json-file --log-opt max-file=0 busybox true",
            "E run --rm --log-driver json-file --log-opt max-size busybox true",
            "E run --rm --log-driver local --log-opt nosuch=1 busybox true",
        ),
        "watching: events": (
            'E events --since "$(cat $T/since)" --until "$(date +%s)"  --format \'{{.Nosuch}}\'',
            'E events --since "$(cat $T/since)" --until "$(date +%s)"  --format \'{{\'',
            "E events --since nonsense --until 1",
            "E events --until nonsense",
        ),
        "watching: filters of ps": ("E ps -a --filter is-task=x --format '{{.Names}}' | sort",),
        "watching: namespaces shared": (
            "E run --rm --pid container: busybox sh -c 'true'",
            "E run --rm --ipc container: busybox sh -c 'true'",
        ),
        "watching: user namespaces": ("E run --rm --userns nosuch busybox true",),
        "watching: mount grammar": (
            "E run --rm --mount type=volume,src='not fine',dst=/x busybox true",
            "E run --rm --mount type=volume,src=/abs,dst=/x busybox true",
        ),
    },
    ("prune-shows", "code"): {
        "watching: pruning": ("E container prune -f | grep -c '<ID>\\|^[0-9a-f]\\{64\\}$'",),
    },
    ("prune-shows", "out"): {
        "watching: pruning": (
            "E container prune -f | grep -c '<ID>\\|^[0-9a-f]\\{64\\}$'",
            "E container prune -f",
            "echo n | E container prune",
            "echo y | E container prune | tail -1",
            "E volume create vol; E volume prune -f | tail -1; E image prune -f; E volume prune --nosuch",
        ),
    },
    ("run-125", "code"): {
        "options: streams": ("E run --rm -it busybox tty < /dev/null",),
        "options: bad values": (
            "E run --rm --detach-keys nosuch busybox true",
            "E run --rm -d -a stdout busybox true",
        ),
    },
    ("runtime-native", "out"): {
        "options: as inspected": ("E inspect -f '{{json .HostConfig.Runtime}}' box",),
    },
    ("shm-flags", "out"): {
        "effects: host ipc": ("sed -n '/^== mounts$/,/^== /p' $T/probe | sed '1d;/^== /d'",),
    },
    ("sizes", "out"): {
        "listing: inspect": ("E inspect -s -f '{{.SizeRw}}' box",),
    },
    ("tail-nonsense", "code"): {
        "policies: logs followed": ("E logs --tail x box",),
    },
    ("tail-nonsense", "err"): {
        "policies: logs followed": ("E logs --tail x box",),
    },
    ("tail-nonsense", "out"): {
        "policies: logs followed": ("E logs --tail x box",),
    },
    ("tar-names", "out"): {
        "lifecycle: files": ("E cp box:/new/. - | tar t | sort",),
    },
    ("template-64", "code"): {
        "listing: inspect": (
            "E inspect -f '{{nosuch}}' box",
            "E inspect -f '{{' box",
        ),
        "watching: events": (
            'E events --since "$(cat $T/since)" --until "$(date +%s)"  --format \'{{.Nosuch}}\'',
            'E events --since "$(cat $T/since)" --until "$(date +%s)"  --format \'{{\'',
        ),
    },
    ("tmpfs-proc", "code"): {
        "options: mounts": ("E run --rm --tmpfs /proc/fs busybox true",),
    },
    ("tmpfs-proc", "err"): {
        "options: mounts": ("E run --rm --tmpfs /proc/fs busybox true",),
    },
    ("top-fields", "code"): {
        "lifecycle: exec": (
            "E top box -o comm,args",
            "E top box -eo user,comm",
        ),
    },
    ("top-fields", "err"): {
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
    ("untag-name", "out"): {
        "watching: events": (
            (
                'E events --since "$(cat $T/since)" --until "$(date +%s)" --filter type=image --format'
                " '{{.Action}} {{.Actor.Attributes.name}}'"
            ),
        ),
    },
}
