"""What goes on by itself: restarts, health checks, and the logs that are kept of it."""

from __future__ import annotations

RUN = "E run --rm"
HEALTH = "E inspect -f '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' box"
STATE = "E inspect -f '{{.State.Status}} {{.State.Restarting}} {{.State.ExitCode}} {{.RestartCount}}' box"


def _until(template: str, value: str, name: str = "box") -> str:
    """Wait until inspect shows `value`; whoever waits in vain has another output in the next line."""
    return f"for i in $(seq 100); do test \"$(E inspect -f '{template}' {name})\" = {value} && break; sleep 0.1; done"


def _policy(word: str) -> list[str]:
    return [
        f"E create --name box --restart {word} busybox true > /dev/null",
        "E inspect -f '{{json .HostConfig.RestartPolicy}}' box",
        "E rm box > /dev/null",
    ]


SCENARIOS = {
    "restart policies": [
        *(line for word in ("no", "always", "unless-stopped", "on-failure", "on-failure:3") for line in _policy(word)),
        *(
            f"E create --restart {word} busybox true"
            for word in ("nosuch", "on-failure:x", "on-failure:-1", "always:3", "on-failure:1:2")
        ),
        f"{RUN} --restart always busybox true",
    ],
    "restarting": [
        "E run -d --name box --restart on-failure:2 busybox sh -c 'echo once more; exit 3' > /dev/null",
        _until("{{.RestartCount}} {{.State.Status}}", "'2 exited'"),
        STATE,
        "E wait box",
        "E logs box",
        "E start -a box",
        "E rm -f box",
        "E run -d --name box --restart always busybox sh -c 'sleep 0.3; exit 4' > /dev/null",
        _until("{{ge .RestartCount 1}}", "true"),
        "E stop -t 0 box",
        "E inspect -f '{{.State.Status}} {{.State.Restarting}}' box",
        "sleep 1; E inspect -f '{{.State.Status}}' box",
        "E rm box",
        "E run -d --name box busybox sleep 600 > /dev/null",
        "E update --restart on-failure:4 box",
        "E inspect -f '{{json .HostConfig.RestartPolicy}}' box",
        "E update --restart nosuch box",
        "E update --restart no box",
        "E inspect -f '{{json .HostConfig.RestartPolicy}} {{.HostConfig.Memory}}' box",
        "E rename box other",
        "E inspect -f '{{.Name}} {{.State.Status}} {{.RestartCount}}' other",
        "E rm -f other",
        "E run -d --rm --name box busybox sleep 600 > /dev/null",
        "E update --restart always box",
    ],
    "waiting": [
        "E run -d --name one busybox sh -c 'sleep 0.5; exit 1' > /dev/null",
        "E run -d --name two busybox sh -c 'sleep 1; exit 2' > /dev/null",
        "E create --name made busybox true > /dev/null",
        "E wait one two",
        "E wait two nosuch one",
        "E wait made",
    ],
    "health": [
        "E run -d --name box --health-cmd 'test -e /up' --health-interval 200ms --health-retries 2 --health-timeout 20s"
        " busybox sleep 600 > /dev/null",
        "E inspect -f '{{json .Config.Healthcheck}} {{if .State.Health}}checked{{end}}' box",
        _until("{{.State.Health.Status}}", "unhealthy"),
        "E inspect -f '{{.State.Health.Status}} {{ge .State.Health.FailingStreak 2}}' box",
        "E inspect -f '{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}' box",
        "E ps --format '{{.Names}} {{.Status}}'",
        "E ps --filter health=unhealthy --format '{{.Names}}'",
        "E ps --filter health=healthy --format '{{.Names}}'",
        "E exec box touch /up",
        _until("{{.State.Health.Status}}", "healthy"),
        HEALTH,
        "E ps --filter health=healthy --format '{{.Names}} {{.Status}}'",
        'E inspect box | python3 -c \'import json,sys; print(sorted(json.load(sys.stdin)[0]["State"]["Health"]))\'',
        "E stop -t 0 box; E inspect -f '{{.State.Health.Status}}' box",
        "E ps -a --filter health=none --format '{{.Names}}'",
        "E rm box > /dev/null; E run -d --name box --health-cmd 'echo said; exit 3' --health-interval 10m"
        " busybox sleep 600 > /dev/null; " + HEALTH,
        "E ps --filter health=starting --format '{{.Names}} {{.Status}}'",
        "E ps --filter health=nosuch --format '{{.Names}}'",
        "E rm -f box > /dev/null; E create --name box --no-healthcheck busybox > /dev/null;"
        " E inspect -f '{{json .Config.Healthcheck}} {{json .State.Health}}' box",
        f"{RUN} --no-healthcheck --health-cmd true busybox true",
        f"{RUN} --health-retries -1 --health-cmd true busybox true",
        f"{RUN} --health-interval -1s --health-cmd true busybox true",
        f"{RUN} --health-interval x --health-cmd true busybox true",
        f"{RUN} --health-interval 100us --health-cmd true busybox true",
        f"{RUN} --health-retries x --health-cmd true busybox true",
    ],
    "logs kept as JSON": [
        "E run --name box --log-driver json-file --log-opt max-size=1m --log-opt max-file=2 busybox"
        " sh -c 'echo out; sleep 0.2; echo err >&2; sleep 0.2; printf end' > /dev/null 2>&1",
        "E inspect -f '{{json .HostConfig.LogConfig}}' box",
        "E logs box",
        "E logs -n 1 box",
        "E logs -t box 2> /dev/null",
        "cat $(E inspect -f '{{.LogPath}}' box) | python3 -c 'import json,sys; [print(sorted(one), one[\"log\"])"
        " for one in map(json.loads, sys.stdin)]'",
        "E rm box",
        "E run --name box --log-driver json-file --log-opt tag={{.Name}} -l team=a -e SIZE=3 --log-opt labels=team"
        " --log-opt env=SIZE busybox echo x",
        "E logs --details box",
        "cat $(E inspect -f '{{.LogPath}}' box) | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"attrs\"])'",
        "E rm box",
        "E run --name box --log-driver local busybox sh -c 'echo out; sleep 0.2; echo err >&2'",
        "E inspect -f '{{.HostConfig.LogConfig.Type}}' box",
        "E logs box",
        "E logs --tail 1 box",
        "E rm box",
        "E run --name box --log-driver none busybox echo x",
        "E inspect -f '{{json .HostConfig.LogConfig}}' box",
        "E logs box",
        "E rm box",
    ],
    # Not an unknown driver: Docker waits for a plugin of that name for 15 seconds.
    "logs refused": [
        f"{RUN} --log-driver {words} busybox true"
        for words in (
            "json-file --log-opt nosuch=1",
            "json-file --log-opt max-size=x",
            "json-file --log-opt max-file=x",
            "json-file --log-opt max-file=0",
            "json-file --log-opt max-file=3",
            "json-file --log-opt max-size",
            "none --log-opt max-size=1m",
            "local --log-opt nosuch=1",
            "syslog --log-opt nosuch=1",
            "syslog --log-opt syslog-address=nosuch",
            "json-file --log-opt mode=nosuch",
        )
    ],
    "logs refused when created": ["E create --log-driver json-file --log-opt max-size=x busybox | wc -l"],
    "logs followed": [
        "E run -d --name box busybox sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done; echo last >&2' > /dev/null;"
        " E inspect -f '{{if .State.Health}}checked{{else}}unchecked{{end}}' box",
        "E logs -f box",
        "E logs -f -n 1 box 2>&1",
        "E logs -f --since 1h box 2> /dev/null",
        "E logs --tail -1 box 2> /dev/null",
        "E logs --until 1h box",
        "E logs --tail x box",
        "E logs nosuch",
        "E logs box box",
    ],
}
