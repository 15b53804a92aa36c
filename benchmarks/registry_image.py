"""The image that is pulled and pushed: three layers on Debian's minimal system, some 400 MB, and one that differs by a
package. Made by mmdebstrap once; the layers are the differences between systems with and without packages."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile

from archives import CACHE, debian_tar

PACKAGES = "gcc,libc6-dev,python3,git,perl"
ONE_MORE = "vim"
CREATED = "2025-01-01T00:00:00Z"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def layout(more: str = "") -> str:
    """The path of an OCI layout directory with the image, uncompressed; with the package `more` in it as well."""
    path = f"{CACHE}/registry-image{'-' + more if more else ''}"
    if not os.path.isdir(path):
        base = debian_tar()
        whole = _system(f"{PACKAGES},{more}" if more else PACKAGES, f"{path}.tar")
        parts = [f"{path}.programs.tar", f"{path}.data.tar"]
        _split_difference(base, whole, parts)
        _write_layout(f"{path}.new", [base, *parts])
        for part in (whole, *parts):
            os.unlink(part)
        os.rename(f"{path}.new", path)
    return path


def _system(packages: str, path: str) -> str:
    if not os.path.exists(path):
        print(f"making a Debian system with {packages} (once, a minute) …", flush=True)
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", f"{path}.new"],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        os.rename(f"{path}.new", path)
    return path


def _split_difference(base: str, whole: str, parts: list[str]) -> None:
    """What `whole` has and `base` has not: /usr/lib and programs in the first part, all else in the second."""
    known = {}
    with tarfile.open(base) as archive:
        for entry in archive:
            known[entry.name] = _facts(archive, entry)
    with tarfile.open(whole) as archive:
        written = [tarfile.open(part, "w", format=tarfile.PAX_FORMAT) for part in parts]  # noqa: SIM115 -- closed below
        for entry in archive:
            if known.get(entry.name) != _facts(archive, entry):
                first = entry.name.startswith(("./usr/lib", "./usr/bin"))
                written[0 if first else 1].addfile(entry, archive.extractfile(entry) if entry.isreg() else None)
        for part in written:
            part.close()


def _facts(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> tuple[object, ...]:
    content = archive.extractfile(entry) if entry.isreg() else None
    digest = hashlib.sha256(content.read()).digest() if content else b""
    return entry.type, entry.mode, entry.uid, entry.gid, entry.linkname, digest


def _write_layout(path: str, tars: list[str]) -> None:
    os.makedirs(f"{path}/blobs/sha256")
    layers = []
    for tar in tars:
        with open(tar, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        subprocess.run(["cp", tar, f"{path}/blobs/sha256/{digest}"], check=True)
        layers.append((f"sha256:{digest}", os.path.getsize(tar)))
    config = {
        "created": CREATED,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["bash"]},
        "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in layers]},
        "history": [{"created": CREATED, "created_by": "benchmark"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, **_blob(path, config)},
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": size} for digest, size in layers],
    }
    index = {"schemaVersion": 2, "manifests": [{"mediaType": _MANIFEST, **_blob(path, manifest)}]}
    with open(f"{path}/index.json", "w") as file:
        json.dump(index, file)
    with open(f"{path}/oci-layout", "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)


def _blob(path: str, document: object) -> dict[str, object]:
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{path}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}
