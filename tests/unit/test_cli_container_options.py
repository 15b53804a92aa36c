"""From the words after `tiffin run` to a ContainerConfig, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.cli.container_options import attached_streams, config_from, environment
from tiffin.cli.options import parse
from tiffin.cli.run import CREATE, RUN
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import ContainerConfig, Device, LogConfig, Mount, Ulimit
from tiffin.model.resources import Resources


def config(*words: str) -> ContainerConfig:
    return config_from(parse(RUN, [*words, "img"]))


def test_nothing_asked_is_all_defaults() -> None:
    assert config() == ContainerConfig(image="img")


def test_image_and_command() -> None:
    found = config_from(parse(RUN, ["img", "ls", "-l", "--rm"]))
    assert found == ContainerConfig(image="img", command=("ls", "-l", "--rm"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-it --rm --name web", {"interactive": True, "tty": True, "auto_remove": True, "name": "web"}),
        ("--entrypoint /bin/x", {"entrypoint": ("/bin/x",)}),
        ("--entrypoint=", {"entrypoint": ()}),
        ("-w /src -u alice:users", {"workdir": "/src", "user": "alice:users"}),
        ("--group-add audio --group-add 5", {"groups": ("audio", "5")}),
        ("-h box --domainname example", {"hostname": "box", "domainname": "example"}),
        ("--network host", {"network": "host"}),
        ("--net=none", {"network": "none"}),
        ("--pid container:a --ipc=shareable --uts ns:/u --cgroupns container:b --network container:c",
         {"pid": "container:a", "ipc": "shareable", "uts": "ns:/u", "cgroupns": "container:b",
          "network": "container:c"}),
        ("--pid host --ipc=host --uts host --cgroupns host",
         {"pid": "host", "ipc": "host", "uts": "host", "cgroupns": "host"}),
        ("--read-only --privileged --init", {"read_only": True, "privileged": True, "init": True}),
        ("--cap-add NET_ADMIN --cap-drop=ALL", {"cap_add": ("NET_ADMIN",), "cap_drop": ("ALL",)}),
        ("--security-opt no-new-privileges", {"security_opts": ("no-new-privileges",)}),
        ("--device /dev/fuse --device a.b/c=d --device=e/f=all",
         {"devices": (Device(host_path="/dev/fuse", container_path="/dev/fuse"),),
          "device_requests": ("a.b/c=d", "e/f=all")}),
        ("--gpus all --gpus 2 --gpus device=GPU-1 --gpus 0", {"gpus": ("all", "2", "device=GPU-1")}),
        ('--gpus "device=0,1",driver=nvidia --gpus driver=cdi --gpus count=-1,capabilities=gpu',
         {"gpus": ("device=0,1", "1", "all")}),
        ("--device /dev/fuse", {"devices": (Device(host_path="/dev/fuse", container_path="/dev/fuse"),)}),
        ("--device /dev/fuse:r",
         {"devices": (Device(host_path="/dev/fuse", container_path="/dev/fuse", permissions="r"),)}),
        ("--device /dev/fuse:/dev/f:rw",
         {"devices": (Device(host_path="/dev/fuse", container_path="/dev/f", permissions="rw"),)}),
        ("--sysctl net.ipv4.ip_forward=1", {"sysctls": (("net.ipv4.ip_forward", "1"),)}),
        ("--ulimit nofile=10:20 --ulimit core=-1",
         {"ulimits": (Ulimit(name="nofile", soft=10, hard=20), Ulimit(name="core", soft=-1, hard=-1))}),
        ("--shm-size 1m", {"shm_size_bytes": 1 << 20}),
        ("-l a=1 --label b", {"labels": (("a", "1"), ("b", ""))}),
        ("--stop-signal INT --stop-timeout 3", {"stop_signal": "INT", "stop_timeout_s": 3}),
        ("-m 64m --memory-swap -1 --memory-reservation 32m",
         {"resources": Resources(memory_bytes=64 << 20, memory_swap_bytes=-1, memory_reservation_bytes=32 << 20)}),
        ("--cpus 1.5 -c 512 --cpuset-cpus 0-1 --cpuset-mems 0",
         {"resources": Resources(cpus=1.5, cpu_shares=512, cpuset_cpus="0-1", cpuset_mems="0")}),
        ("--pids-limit 10", {"resources": Resources(pids_limit=10)}),
        ("--pids-limit 0", {"resources": Resources(pids_limit=-1)}),
        ("--memory-merge", {"resources": Resources(memory_merge=True)}),
        ("--memory-merge=false", {"resources": Resources(memory_merge=False)}),
        ("--log-driver none", {"log": LogConfig(driver="none")}),
        ("--log-driver json-file --log-opt max-size=-1 --log-opt tag=x",
         {"log": LogConfig(driver="json-file", max_size_bytes=1 << 62, options=(("tag", "x"),))}),
        ("--log-driver syslog --log-opt cache-max-file=7 --log-opt max-size=1m",
         {"log": LogConfig(driver="syslog", max_files=7, options=(("max-size", "1m"),))}),
        ("--log-opt max-size=1m --log-opt max-file=2", {"log": LogConfig(max_size_bytes=1 << 20, max_files=2)}),
        ("--pull never -q", {}),
        ("--pull always", {}),
        ("-v /a:/b", {"mounts": (Mount(type="bind", source="/a", target="/b", create_source=True),)}),
        ("-v /a:/b:ro,rslave",
         {"mounts": (Mount(type="bind", source="/a", target="/b", readonly=True, propagation="rslave",
                           create_source=True),)}),
        ("--mount type=bind,src=/a,dst=/b,ro",
         {"mounts": (Mount(type="bind", source="/a", target="/b", readonly=True),)}),
        ("--mount type=bind,source=/a,target=/b,bind-propagation=shared,bind-recursive=disabled",
         {"mounts": (Mount(type="bind", source="/a", target="/b", propagation="shared", recursive=False),)}),
        ('--mount type=bind,"source=/a,b",target=/b', {"mounts": (Mount(type="bind", source="/a,b", target="/b"),)}),
        ("--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
         {"mounts": (Mount(type="tmpfs", target="/t", tmpfs_options=("size=1048576", "mode=1770")),)}),
        ("--tmpfs /t", {"mounts": (Mount(type="tmpfs", target="/t"),)}),
        ("--tmpfs /t:ro,size=1m,exec",
         {"mounts": (Mount(type="tmpfs", target="/t", readonly=True, tmpfs_options=("size=1m", "exec")),)}),
    ],
)  # fmt: skip
def test_options(words: str, expected: dict[str, object]) -> None:
    assert config(*words.split()) == ContainerConfig(image="img", **expected)  # type: ignore[arg-type]


def test_relative_sources_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config("-v", "./x:/b").mounts[0].source == f"{tmp_path}/x"
    assert config("-v", ".:/b").mounts[0].source == str(tmp_path)


def test_a_relative_source_when_the_working_directory_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError) as caught:
        config_from(parse(RUN, ["-v", ".:/src", "image"]))
    assert caught.value.message == (
        'invalid argument ".:/src" for "-v, --volume": \'.\' is below the current directory, which was removed'
    )


def test_environment_order_and_the_hosts_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HOST", "h")
    monkeypatch.delenv("NOT_THERE", raising=False)
    file = tmp_path / "env"
    file.write_text("\ufeff# comment\n\n  A=1\nB=with = and # inside \nFROM_HOST\nNOT_THERE\r\nC=2\r\n")
    parsed = parse(RUN, ["--env-file", str(file), "-e", "A=2", "-e", "FROM_HOST", "-e", "NOT_THERE", "img"])
    assert environment(parsed) == (
        "A=1", "B=with = and # inside ", "FROM_HOST=h", "C=2", "A=2", "FROM_HOST=h", "NOT_THERE",
    )  # fmt: skip


def test_label_files(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_text("a=1\nb\n")
    assert config("--label-file", str(file), "-l", "a=2").labels == (("a", "2"), ("b", ""))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"=x\n", "invalid env file ({}): no variable name on line '=x'"),
        (b"A=1\na b=x\n", "invalid env file ({}): variable 'a b' contains whitespaces"),
        (b"A=\xff\n", "invalid env file ({}): invalid utf8 bytes at line 1: [65 61 255]"),
    ],
)
def test_bad_env_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "env"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        config("--env-file", str(file))
    assert caught.value.message == message.format(file)


def test_unreadable_files(tmp_path: Path) -> None:
    for option in ("--env-file", "--label-file"):
        with pytest.raises(UsageError) as caught:
            config(option, f"{tmp_path}/nothing")
        assert caught.value.message == f"open {tmp_path}/nothing: no such file or directory"
    with pytest.raises(UsageError) as caught:
        config("--env-file", str(tmp_path))
    assert caught.value.message == f"open {tmp_path}: is a directory"


@pytest.mark.parametrize(
    ("words", "mounts"),
    [
        ("-v data:/b", (Mount(type="volume", source="data", target="/b"),)),
        ("-v data:/b:ro,nocopy", (Mount(type="volume", source="data", target="/b", readonly=True, nocopy=True),)),
        ("-v /b", (Mount(type="volume", target="/b", anonymous=True),)),
        ("-v /b -v /b", (Mount(type="volume", target="/b", anonymous=True),)),
        ("-v /b -v data:/b/", (Mount(type="volume", source="data", target="/b/"),)),
        ("--mount target=/b", (Mount(type="volume", target="/b"),)),
        ("--mount type=volume,src=data,dst=/b,ro,volume-nocopy,volume-label=a=1,volume-label=b",
         (Mount(type="volume", source="data", target="/b", readonly=True, nocopy=True,
                volume_labels=(("a", "1"), ("b", ""))),)),
    ],
)  # fmt: skip
def test_volumes(words: str, mounts: tuple[Mount, ...]) -> None:
    assert config(*words.split()).mounts == mounts
    assert config("--volumes-from", "web:ro", "--volumes-from=db").volumes_from == ("web:ro", "db")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-e =1", 'invalid argument "=1" for "-e, --env": invalid environment variable: =1'),
        ("-w src", 'invalid argument "src" for "-w, --workdir": the working directory must be an absolute path'),
        ("-m abc", 'invalid argument "abc" for "-m, --memory": invalid size: \'abc\''),
        ("-m 1x", 'invalid argument "1x" for "-m, --memory": invalid suffix: \'x\''),
        ("--cpus abc", 'invalid argument "abc" for "--cpus": not a number of CPUs such as 1.5'),
        ("--cpus nan", 'invalid argument "nan" for "--cpus": not a number of CPUs such as 1.5'),
        ("--ulimit foo", 'invalid argument "foo" for "--ulimit": invalid ulimit argument: foo'),
        ("--ulimit nofile=a",
         'invalid argument "nofile=a" for "--ulimit": strconv.ParseInt: parsing "a": invalid syntax'),
        ("--ulimit nofile=10:5",
         ('invalid argument "nofile=10:5" for "--ulimit": '
          "ulimit soft limit must be less than or equal to hard limit: 10 > 5")),
        ("--ulimit nofile=-1:5",
         ('invalid argument "nofile=-1:5" for "--ulimit": '
          "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 5")),
        ("--device fuse", 'invalid argument "fuse" for "--device": fuse is not an absolute path'),
        ("--device /dev/a:/dev/b:x", 'invalid argument "/dev/a:/dev/b:x" for "--device": bad mode specified: x'),
        ("--device /a:/b:r:w", 'invalid argument "/a:/b:r:w" for "--device": bad format for path: /a:/b:r:w'),
        ("--sysctl kernel.panic=1",
         "invalid argument \"kernel.panic=1\" for \"--sysctl\": sysctl 'kernel.panic=1' is not allowed"),
        ("--label =x", 'invalid argument "=x" for "-l, --label": invalid label \'=x\': empty name'),
        ("--log-opt max-size=x", 'invalid argument "max-size=x" for "--log-opt": invalid size: \'x\''),
        ("--log-opt max-file=x", 'invalid argument "max-file=x" for "--log-opt": \'x\' is not a number'),
        ("--log-opt max-file=0", 'invalid argument "max-file=0" for "--log-opt": it must be at least 1'),
        ("--pull foo", 'invalid pull option: \'foo\': must be one of "always", "missing" or "never"'),
        ("--uts foo", 'invalid argument "foo" for "--uts": it is host, private, container:NAME or ns:PATH'),
        ("--ipc x",
         'invalid argument "x" for "--ipc": it is host, private, shareable, none, container:NAME or ns:PATH'),
        ("--pid container:",
         'invalid argument "container:" for "--pid": it is host, private, container:NAME or ns:PATH'),
        ("--stop-timeout -2",
         'invalid argument "-2" for "--stop-timeout": seconds are not negative, except -1 for no limit'),
        ("--tmpfs /t:foo", 'invalid argument "/t:foo" for "--tmpfs": unknown tmpfs option \'foo\''),
        ("--annotation =x", 'invalid argument "=x" for "--annotation": invalid annotation \'=x\': empty name'),
        ("--isolation process", "Invalid isolation: \"process\" - linux only supports 'default'"),
        ("--gpus x", 'invalid argument "x" for "--gpus": count must be an integer'),
        ("--gpus 1,2", 'invalid argument "1,2" for "--gpus": gpu request key \'count\' can be specified only once'),
        ("--gpus a=b", 'invalid argument "a=b" for "--gpus": unexpected key \'a\' in \'a=b\''),
        ("--gpus -2", 'invalid argument "-2" for "--gpus": count must be all or a number of GPUs'),
        ("--gpus device=0,1", "cannot set both Count and DeviceIDs on device request"),
        ("--gpus driver=amd", 'could not select device driver "amd" with capabilities: [[gpu]]'),
        ("--device a=b/c", 'invalid argument "a=b/c" for "--device": a=b/c is not an absolute path'),
        ("--oom-score-adj x", 'invalid argument "x" for "--oom-score-adj": not a whole number'),
    ],
)  # fmt: skip
def test_bad_values(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(*words.split())
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--network bridge", "--network bridge is not supported yet: Tiffin has no bridge networks so far"),
        ("--gpus capabilities=utility",
         "--gpus capabilities=utility is not supported yet: descriptions of devices know no capabilities and no "
         "options"),
        ("-p 80:80", "--publish is not supported yet: Tiffin has no bridge networks so far; use --network host"),
    ],
)  # fmt: skip
def test_not_supported(words: str, message: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        config(*words.split())
    assert caught.value.message == message


def test_smaller_options() -> None:
    made = config(
        "--annotation=a=b=c", "--annotation=d", "--oom-score-adj=-5", "--device-cgroup-rule=c 42:* rmw",
        "--platform=linux/arm64", "--isolation=default",
    )  # fmt: skip
    assert made.annotations == (("a", "b=c"), ("d", ""))
    assert (made.oom_score_adj, made.device_cgroup_rules, made.platform) == (-5, ("c 42:* rmw",), "linux/arm64")
    assert config("--oom-score-adj=0").oom_score_adj is None


@pytest.mark.parametrize("rule", ["", "c 42:*", "x 1:1 r", "c 1 r", "c 1:1 rwx", "c 1:1  r", "c -1:1 r", "c 1:1 "])
def test_device_rules_that_are_none(rule: str) -> None:
    with pytest.raises(UsageError) as caught:
        config("--device-cgroup-rule", rule)
    assert caught.value.message == (
        f'invalid argument "{rule}" for "--device-cgroup-rule": invalid device cgroup format \'{rule}\''
    )


@pytest.mark.parametrize(
    ("words", "streams"),
    [
        ("", {"stdout", "stderr"}),
        ("-i", {"stdin", "stdout", "stderr"}),
        ("-a stdout", {"stdout"}),
        ("-a STDIN -a stderr", {"stdin", "stderr"}),
    ],
)
def test_attached_streams(words: str, streams: set[str]) -> None:
    assert attached_streams(parse(RUN, [*words.split(), "img"])) == streams


def test_bad_stream() -> None:
    with pytest.raises(UsageError) as caught:
        attached_streams(parse(RUN, ["-a", "foo", "img"]))
    assert (
        caught.value.message == 'invalid argument "foo" for "-a, --attach": valid streams are stdin, stdout and stderr'
    )


# What `docker run --help` of Docker 28.2.2 lists.
DOCKERS_OPTIONS = """
    add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns
    cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus
    cpuset-cpus cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops
    device-write-bps device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint
    env env-file expose gpus group-add health-cmd health-interval health-retries health-start-interval
    health-start-period health-timeout help hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc
    isolation kernel-memory label label-file link link-local-ip log-driver log-opt mac-address memory
    memory-reservation memory-swap memory-swappiness mount name network network-alias no-healthcheck
    oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all pull quiet read-only
    restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty
    ulimit use-api-socket user userns uts volume volume-driver volumes-from workdir
"""


def test_every_option_of_docker_is_taken_or_refused() -> None:
    theirs = set(DOCKERS_OPTIONS.split())
    foreground = {"detach", "detach-keys", "sig-proxy"}  # those that `docker create` lacks
    for verb, expected in ((RUN, theirs), (CREATE, theirs - foreground)):
        ours = {option.name for option in verb.options} | verb.absent.keys() | {"help"}
        assert expected - ours == set()


def test_no_option_is_both_taken_and_refused() -> None:
    for verb in (RUN, CREATE):
        taken = {option.name for option in verb.options} | {option.short for option in verb.options if option.short}
        assert taken & verb.absent.keys() == set()
