"""Records behave as frozen, slotted, keyword-only dataclasses."""

from __future__ import annotations

import copy
import pickle

import pytest

from tiffin.model.container import Container, ContainerConfig, Device, LogConfig, Mount, Ulimit, container_from_dict
from tiffin.model.record import Record
from tiffin.model.resources import Resources


class Point(Record):
    x: int
    y: int = 2


class Named(Point):
    name: str = ""


def test_fields_defaults_and_inheritance() -> None:
    point = Named(x=1, name="a")
    assert (point.x, point.y, point.name) == (1, 2, "a")
    assert repr(point) == "Named(x=1, y=2, name='a')"
    assert not hasattr(point, "__dict__")


def test_construction_errors() -> None:
    with pytest.raises(TypeError, match="Point needs 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Point has no field 'z'"):
        Point(x=1, z=2)  # type: ignore[call-arg]


def test_frozen() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x


def test_equality_hash_replace_copy_pickle() -> None:
    point = Point(x=1)
    assert point == Point(x=1, y=2) and hash(point) == hash(Point(x=1, y=2))
    assert point != Point(x=2) and point != Named(x=1)
    assert point.replace(y=5) == Point(x=1, y=5)
    assert copy.copy(point) is point
    assert pickle.loads(pickle.dumps(point)) == point


def full_container() -> Container:
    config = ContainerConfig(
        image="debian",
        command=("sh", "-c", "true"),
        env=("A=1",),
        mounts=(
            Mount(type="bind", source="/a", target="/b", readonly=True),
            Mount(type="tmpfs", target="/t", tmpfs_options=("size=1m",)),
        ),
        devices=(Device(host_path="/dev/null", container_path="/dev/nil"),),
        ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
        labels=(("k", "v"),),
        sysctls=(("net.ipv4.ip_forward", "1"),),
        resources=Resources(memory_bytes=1 << 20, cpus=1.5),
        log=LogConfig(max_files=7),
        entrypoint=(),
    )
    return Container(
        id="a" * 64,
        name="web",
        image_id="sha256:x",
        image_name="debian",
        driver="composefs",
        created_ns=5,
        config=config,
        argv=("sh",),
        env=("A=1",),
        workdir="/",
        user="",
        hostname="h",
        stop_signal=15,
        stop_timeout_s=10,
        labels=(("k", "v"),),
    )


def test_a_container_survives_json() -> None:
    import json

    container = full_container()
    again = container_from_dict(json.loads(json.dumps(container.to_dict())))
    assert again == container
    assert again.config.entrypoint == () and again.config.mounts[0].readonly


def test_to_dict_leaves_out_defaults() -> None:
    assert Point(x=1).to_dict() == {"x": 1}
    assert Point(x=1, y=3).to_dict() == {"x": 1, "y": 3}
