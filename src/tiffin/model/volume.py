"""Volumes: directories that outlive the containers that use them."""

from __future__ import annotations

from tiffin.model.record import Record

ANONYMOUS_LABEL = "com.docker.volume.anonymous"  # what scripts look for


class Volume(Record):
    """One volume. `anonymous` ones were made for a container that gave no name, and go with it when asked.

    `labels` and `options` are (key, value) pairs, sorted; the only `driver` is "local", whose options are `type`,
    `device` and `o`, as mount(8) has them.
    """

    name: str
    created_ns: int
    driver: str = "local"
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False
    options: tuple[tuple[str, str], ...] = ()


class VolumeInfo(Record):
    """A volume as it stands: where its files are, and who uses it, as (container ID, container name) pairs."""

    volume: Volume
    mountpoint: str
    users: tuple[tuple[str, str], ...] = ()
