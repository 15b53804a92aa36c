"""Package databases made by hand, and images that hold them."""

from __future__ import annotations

import io
import sqlite3
import struct
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.archives import open_store, tar_of
from tiffin.images.contents.packages import Package, packages_of
from tiffin.images.importer import import_image
from tiffin.images.store import ImageStore
from tiffin.model.image import Image

Files = Mapping[str, bytes | tarfile.TarInfo]

NAME, VERSION, RELEASE, EPOCH, SUMMARY, VENDOR, LICENSE, ARCH, SOURCE = (
    1000,
    1001,
    1002,
    1003,
    1004,
    1011,
    1014,
    1022,
    1044,
)
INDEXES, BASES, DIRECTORIES = 1116, 1117, 1118


def image_of(root: Path, files: Files, name: str = "demo") -> tuple[ImageStore, Image]:
    """An image of one layer with these files, in a store below `root`."""
    store = open_store(root / "store")
    return store, import_image(store, io.BytesIO(tar_of(files)), name)


def packages_in_image(root: Path, files: Files) -> tuple[list[Package], list[str]]:
    """The packages of such an image, and what is said about databases that cannot be read."""
    warnings: list[str] = []
    store, image = image_of(root, files)
    return packages_of(store, image, warn=warnings.append), warnings


def rpm_header(tags: Mapping[int, Any]) -> bytes:
    """A header of RPM's: str is a string, int a number, lists of either are arrays."""
    index = data = b""
    for tag, value in tags.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], int):
            data += bytes(-len(data) % 4)
            packed, kind = struct.pack(f">{len(values)}I", *values), 4
        else:
            packed = b"".join(text.encode() + b"\0" for text in values)
            kind = 8 if isinstance(value, list) else 6
        index += struct.pack(">IIII", tag, kind, len(data), len(values))
        data += packed
    return struct.pack(">II", len(index) // 16, len(data)) + index + data


BASH = {
    NAME: "bash", VERSION: "5.2.26", RELEASE: "3.fc40", EPOCH: 1, SUMMARY: "A shell", VENDOR: "Example",
    LICENSE: "GPLv3+", ARCH: "x86_64", SOURCE: "bash-5.2.26-3.fc40.src.rpm", DIRECTORIES: ["/bin/", "/etc/"],
    BASES: ["bash", "bashrc", "absent"], INDEXES: [0, 1, 1],
}  # fmt: skip
KEY = {NAME: "gpg-pubkey", VERSION: "1", RELEASE: "2"}
RPM_FILES: Files = {"bin/bash": b"x", "etc/bashrc": b"y"}


RPM_TABLE = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"


def rpm_sqlite(path: Path, blobs: Iterable[bytes], *, schema: str = "") -> bytes:
    """rpmdb.sqlite as rpm makes it, or with another schema."""
    connection = sqlite3.connect(path)
    connection.executescript(
        schema or "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
    )
    if not schema:
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
    connection.commit()
    connection.close()
    return path.read_bytes()


def rpm_ndb(blobs: Iterable[bytes]) -> bytes:
    """Packages.db: one page of slots, then the blobs."""
    slots = body = b""
    block = 4096 // 16
    for number, blob in enumerate(blobs, 1):
        blocks = -(-(16 + len(blob) + 12) // 16)
        raw = (struct.pack("<4sIII", b"BlbS", number, 1, len(blob)) + blob).ljust(blocks * 16 - 12, b"\0")
        raw += struct.pack("<II4s", zlib.adler32(raw), len(blob), b"BlbE")
        slots += struct.pack("<4sIII", b"Slot", number, block, blocks)
        block += blocks
        body += raw
    page = struct.pack("<4sIIII", b"RpmP", 0, 1, 1, 9).ljust(32, b"\0") + slots
    page += struct.pack("<4sIII", b"Slot", 0, 0, 0) * ((4096 - len(page)) // 16)
    return page + body


def rpm_bdb(blobs: Iterable[bytes], *, order: str = "<", page_size: int = 512) -> bytes:
    """Packages: a page of meta data, one of keys and values, and overflow pages for the headers."""
    overflow: list[bytes] = []
    items: list[bytes] = []
    room = page_size - 26
    first = 2
    for number, blob in enumerate([struct.pack(f"{order}I", 7), *blobs]):
        items.append(b"\1" + struct.pack(f"{order}I", number))
        if not number:
            items.append(b"\1" + blob)
            continue
        items.append(struct.pack(f"{order}B3xII", 3, first, len(blob)))
        parts = [blob[at : at + room] for at in range(0, len(blob), room)]
        for place, part in enumerate(parts):
            following = first + 1 if place < len(parts) - 1 else 0
            overflow.append(bdb_page(order, page_size, 7, following, len(part), part, count=1, number=first))
            first += 1
    offsets = []
    end = page_size
    body = b""
    for item in items:
        end -= len(item)
        offsets.append(end)
        body = item + body
    index = struct.pack(f"{order}{len(offsets)}H", *offsets)
    filling = bytes(page_size - 26 - len(index) - len(body))
    keys = bdb_page(order, page_size, 13, 0, end, index + filling + body, count=len(items), number=1)
    meta = struct.pack(f"{order}8xIIIIBB", 0, 0x00061561, 9, page_size, 0, 8).ljust(page_size, b"\0")
    return meta + keys + b"".join(overflow)


def bdb_page(
    order: str, size: int, kind: int, following: int, offset: int, body: bytes, *, count: int, number: int
) -> bytes:
    """One page: its header of 26 bytes, and `body`."""
    return (struct.pack(f"{order}8xIIIHHBB", number, 0, following, count, offset, 0, kind) + body).ljust(size, b"\0")
