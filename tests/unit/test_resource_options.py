"""Limits on the command line."""

from __future__ import annotations

import pytest

from tiffin.cli.change import UPDATE
from tiffin.cli.container_options import resources
from tiffin.cli.options import parse
from tiffin.cli.run import CREATE, RUN
from tiffin.errors import OptionError
from tiffin.model.container import Container, ContainerConfig, container_from_dict
from tiffin.model.resources import Resources
from tiffin.plain_json import dumps, loads

MB = 1 << 20


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Resources()),
        ("--cpu-quota 5000 --cpu-period=50000 --cpu-burst 100",
         Resources(cpu_quota_us=5000, cpu_period_us=50000, cpu_burst_us=100)),
        ("--cpu-quota -1 --cpu-burst -1 --cpu-period 0", Resources(cpu_quota_us=-1, cpu_burst_us=-1)),
        ("--cpu-idle --oom-kill-disable=false --oom-group",
         Resources(cpu_idle=True, oom_kill_disable=False, oom_group=True)),
        ("--cpu-rt-runtime 5 --cpu-rt-period 0x10", Resources(cpu_rt_runtime_us=5, cpu_rt_period_us=16)),
        ("--memory-high 64m --memory-min -1 --memory-swappiness 0",
         Resources(memory_high_bytes=64 * MB, memory_min_bytes=-1, memory_swappiness=0)),
        ("--memory-swappiness -1 --blkio-weight 0", Resources()),
        ("--blkio-weight 10 --blkio-weight-device /dev/a:20",
         Resources(io_weight=10, device_weights=(("/dev/a", 20),))),
        ("--io-read-bps 5m --io-write-bps -1 --io-read-iops 100 --io-write-iops 0",
         Resources(io_read_bps=5 * MB, io_write_bps=-1, io_read_iops=100, io_write_iops=0)),
        ("--device-read-bps /dev/a:1mb --device-read-bps /dev/b:2 --device-read-bps /dev/a:3k",
         Resources(device_read_bps=(("/dev/a", 3072), ("/dev/b", 2)))),
        ("--device-write-iops /dev/a:5 --device-read-iops /dev/a:-1",
         Resources(device_write_iops=(("/dev/a", 5),), device_read_iops=(("/dev/a", -1),))),
        ("--hugetlb 2m:1g --hugetlb 1GB:-1 --hugetlb 1536k:0",
         Resources(hugetlb=(("2MB", 1 << 30), ("1GB", -1), ("1536KB", 0)))),
        ("--rdma mlx:hca_handle=2,hca_object=max --misc sev:4",
         Resources(rdma=(("mlx", "hca_handle=2 hca_object=max"),), misc=(("sev", "4"),))),
    ],
)  # fmt: skip
def test_limits(words: str, expected: Resources) -> None:
    for verb in (RUN, CREATE, UPDATE):
        assert resources(parse(verb, [*words.split(), "name"])) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--device-read-bps foo", 'invalid argument "foo" for "--device-read-bps": bad format: foo'),
        ("--device-read-bps foo:1",
         'invalid argument "foo:1" for "--device-read-bps": bad format for device path: foo:1'),
        ("--device-read-bps /dev/a:x",
         'invalid argument "/dev/a:x" for "--device-read-bps": invalid rate for device: /dev/a:x. The '
         "correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional "
         "and can be kb, mb, or gb"),
        ("--device-write-iops /dev/a:1m",
         'invalid argument "/dev/a:1m" for "--device-write-iops": invalid rate for device: /dev/a:1m. The correct '
         "format is <device-path>:<number>. Number must be a positive integer"),
        ("--blkio-weight-device /dev/a:9",
         'invalid argument "/dev/a:9" for "--blkio-weight-device": invalid weight for device: /dev/a:9'),
        ("--io-read-bps fast", "invalid argument \"fast\" for \"--io-read-bps\": invalid size: 'fast'"),
        ("--io-read-iops 1.5", "invalid argument \"1.5\" for \"--io-read-iops\": invalid number: '1.5'"),
        ("--hugetlb 2m", 'invalid argument "2m" for "--hugetlb": it is SIZE:BYTES, such as 2MB:1g'),
        ("--rdma a:b=1",
         'invalid argument "a:b=1" for "--rdma": it is DEVICE:hca_handle=NUMBER,hca_object=NUMBER, or max for either'),
        ("--misc a", 'invalid argument "a" for "--misc": it is NAME:NUMBER, or NAME:max'),
        ("--memory-high -2", "invalid argument \"-2\" for \"--memory-high\": invalid size: '-2'"),
    ],
)  # fmt: skip
def test_words_that_are_no_limits(words: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        resources(parse(RUN, [*words.split(), "image"]))
    assert caught.value.message == message


def test_records_keep_them() -> None:
    limits = Resources(hugetlb=(("2MB", 5),), device_read_bps=(("/dev/a", 1),), cpu_idle=False, memory_swappiness=0)
    container = Container(
        id="a" * 64, name="one", image_id="host", image_name="host", driver="host", created_ns=1,
        config=ContainerConfig(image="host", resources=limits), argv=("true",), env=(), workdir="/", user="",
        hostname="h", stop_signal=15, stop_timeout_s=10,
    )  # fmt: skip
    assert container_from_dict(loads(dumps(container.to_dict()))) == container
