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
        ("--log-driver none", {"log": LogConfig(driver="none")}),
        ("--log-driver json-file --log-opt max-size=-1 --log-opt tag=x",
         {"log": LogConfig(driver="json-file", max_size_bytes=1 << 62, options=(("tag", "x"),))}),
        ("--log-driver syslog --log-opt cache-max-file=7 --log-opt max-size=1m",
         {"log": LogConfig(driver="syslog", max_files=7, options=(("max-size", "1m"),))}),
        ("--log-opt max-size=1m --log-opt max-file=2", {"log": LogConfig(max_size_bytes=1 << 20, max_files=2)}),
        ("--pull never -q", {}),
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
        (b"=x\n", "invalid env file {}: line 1 has no name before '='"),
        (b"A=1\na b=x\n", "invalid env file {}: line 2: the name 'a b' contains white space"),
        (b"A=\xff\n", "invalid env file {}: line 1 is not UTF-8"),
    ],
)
def test_bad_env_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "env"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        config("--env-file", str(file))
    assert caught.value.message == message.format(file)


def test_unreadable_files(tmp_path: Path) -> None:
    for option, what in (("--env-file", "env"), ("--label-file", "label")):
        with pytest.raises(UsageError) as caught:
            config(option, f"{tmp_path}/nothing")
        assert caught.value.message == f"cannot read the {what} file {tmp_path}/nothing: No such file or directory"
    with pytest.raises(UsageError) as caught:
        config("--env-file", str(tmp_path))
    assert caught.value.message == f"cannot read the env file {tmp_path}: Is a directory"


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
        ("-e =1", 'invalid argument "=1" for "-e, --env": no variable name in \'=1\''),
        ("-w src", 'invalid argument "src" for "-w, --workdir": the working directory must be an absolute path'),
        ("-m abc", 'invalid argument "abc" for "-m, --memory": invalid size: \'abc\''),
        ("-m 1x", 'invalid argument "1x" for "-m, --memory": invalid suffix: \'x\''),
        ("--cpus abc", 'invalid argument "abc" for "--cpus": not a number of CPUs such as 1.5'),
        ("--cpus nan", 'invalid argument "nan" for "--cpus": not a number of CPUs such as 1.5'),
        ("--ulimit foo", 'invalid argument "foo" for "--ulimit": not of the form name=soft[:hard]'),
        ("--ulimit nofile=a", 'invalid argument "nofile=a" for "--ulimit": \'a\' is not a number or two'),
        ("--ulimit nofile=10:5",
         'invalid argument "nofile=10:5" for "--ulimit": the soft limit must not be above the hard limit: 10 > 5'),
        ("--ulimit nofile=-1:5",
         ('invalid argument "nofile=-1:5" for "--ulimit": '
          "the soft limit must not be above the hard limit: unlimited > 5")),
        ("--device fuse", 'invalid argument "fuse" for "--device": \'fuse\' is not an absolute path'),
        ("--device /dev/a:/dev/b:x", ('invalid argument "/dev/a:/dev/b:x" for "--device": bad permissions \'x\'; '
         "they are letters of rwm")),
        ("--device /a:/b:r:w", 'invalid argument "/a:/b:r:w" for "--device": not of the form host[:inside[:rwm]]'),
        ("--sysctl kernel.panic=1",
         ('invalid argument "kernel.panic=1" for "--sysctl": the kernel keeps \'kernel.panic\' for the whole host, '
         "not per container")),
        ("--label =x", 'invalid argument "=x" for "-l, --label": invalid label \'=x\': empty name'),
        ("--log-opt max-size=x", 'invalid argument "max-size=x" for "--log-opt": invalid size: \'x\''),
        ("--log-opt max-file=x", 'invalid argument "max-file=x" for "--log-opt": \'x\' is not a number'),
        ("--log-opt max-file=0", 'invalid argument "max-file=0" for "--log-opt": it must be at least 1'),
        ("--pull foo", 'invalid argument "foo" for "--pull": it is always, missing or never'),
        ("--uts foo", 'invalid argument "foo" for "--uts": it is host, private, container:NAME or ns:PATH'),
        ("--ipc x",
         'invalid argument "x" for "--ipc": it is host, private, shareable, none, container:NAME or ns:PATH'),
        ("--pid container:",
         'invalid argument "container:" for "--pid": it is host, private, container:NAME or ns:PATH'),
        ("--stop-timeout -2",
         'invalid argument "-2" for "--stop-timeout": seconds are not negative, except -1 for no limit'),
        ("-v a:/b:c:d", 'invalid argument "a:/b:c:d" for "-v, --volume": not of the form [source:]inside[:options]'),
        ("-v /a:", 'invalid argument "/a:" for "-v, --volume": not of the form [source:]inside[:options]'),
        ("-v /a:b", 'invalid argument "/a:b" for "-v, --volume": the path inside, \'b\', is not absolute'),
        ("-v /a:/", 'invalid argument "/a:/" for "-v, --volume": the path inside cannot be \'/\''),
        ("-v /a:/b:foo", 'invalid argument "/a:/b:foo" for "-v, --volume": unknown option \'foo\''),
        ("-v /a:/b:ro,rw", 'invalid argument "/a:/b:ro,rw" for "-v, --volume": \'ro\' and \'rw\' at once'),
        ("-v x:/b", ('invalid argument "x:/b" for "-v, --volume": volume name is too short, '
         "names should be at least two alphanumeric characters")),
        ("-v a/b:/b",
         ('invalid argument "a/b:/b" for "-v, --volume": "a/b" includes invalid characters for a local volume name, '
          'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed (if you intended to pass a host directory, '
          "use an absolute path)")),
        ("-v data:/b:rshared",
         'invalid argument "data:/b:rshared" for "-v, --volume": the propagation \'rshared\' is for host directories'),
        ("-v /a:/b:nocopy", 'invalid argument "/a:/b:nocopy" for "-v, --volume": \'nocopy\' is for named volumes'),
        ("-v x1:/x -v x2:/x", "duplicate mount point: /x"),
        ("--mount type=bind,src=/a,dst=/b,volume-nocopy",
         ('invalid argument "type=bind,src=/a,dst=/b,volume-nocopy" for "--mount": '
         "'volume-nocopy' does not go with type=bind")),
        ("--mount foo", 'invalid argument "foo" for "--mount": field \'foo\' is not a key=value pair'),
        ("--mount type=foo,target=/x",
         'invalid argument "type=foo,target=/x" for "--mount": unknown type \'foo\'; it is bind, tmpfs or volume'),
        ("--mount type=bind,src=/a", 'invalid argument "type=bind,src=/a" for "--mount": target is required'),
        ("--mount type=bind,target=/a",
         'invalid argument "type=bind,target=/a" for "--mount": source is required for type=bind'),
        ("--mount type=bind,src=/a,dst=/b,foo=1",
         'invalid argument "type=bind,src=/a,dst=/b,foo=1" for "--mount": unexpected key \'foo\''),
        ("--mount type=tmpfs,dst=/b,bind-propagation=shared",
         ('invalid argument "type=tmpfs,dst=/b,bind-propagation=shared" for "--mount": '
         "'bind-propagation' does not go with type=tmpfs")),
        ("--tmpfs t", 'invalid argument "t" for "--tmpfs": the path inside, \'t\', is not absolute'),
        ("--tmpfs /t:foo", 'invalid argument "/t:foo" for "--tmpfs": unknown tmpfs option \'foo\''),
        ("-v /a:/x --tmpfs /x/", "duplicate mount point: /x"),
    ],
)  # fmt: skip
def test_bad_values(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(*words.split())
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--mount type=volume,source=xx,target=/x,volume-subpath=a",
         "volume-subpath=a is not supported yet: Tiffin mounts whole volumes of its own"),
        ("--mount type=volume,target=/x,volume-driver=nfs",
         "volume-driver=nfs is not supported yet: Tiffin has only the driver local"),
        ("--mount type=image,source=x,target=/x",
         "--mount type=image is not supported yet: Tiffin does not mount images so far"),
        ("--volume-driver nfs", "--volume-driver nfs is not supported yet: Tiffin has only the driver local"),
        ("--network bridge", "--network bridge is not supported yet: Tiffin has no bridge networks so far"),
        ("--pull always", "--pull always is not supported yet: Tiffin has no registries so far"),
        ("--device vendor.example/gpu=0",
         "--device vendor.example/gpu=0 is not supported yet: Tiffin reads no CDI device descriptions so far"),
        ("-p 80:80", "--publish is not supported yet: Tiffin has no bridge networks so far; use --network host"),
    ],
)  # fmt: skip
def test_not_supported(words: str, message: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        config(*words.split())
    assert caught.value.message == message


def test_other_platforms_are_refused() -> None:
    assert config("--platform", "linux").image == "img"
    with pytest.raises(NotSupportedError) as caught:
        config("--platform", "linux/s390x")
    assert caught.value.message.startswith("--platform linux/s390x is not supported yet: this host runs linux/")


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
