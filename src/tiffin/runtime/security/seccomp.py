"""Seccomp filters, ready for the launcher: compiled once per policy, kept in the cache directory.

A hit costs one read of a file of about 6 KB and imports nothing; a miss imports the compiler and costs some
milliseconds. Cache files are derived data: damaged ones are rebuilt, and deleting them is harmless.
"""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Part of every cache file's name: raise it whenever the default policy, the tables or the compiler change.
VERSION = 1

# The capabilities that the default policy asks about (a test holds this against the policy).
RELEVANT_CAPS = 0xC4_06FF_0004

_MAGIC = b"TFSC"
_HEADER = 16  # magic, u32 flags, u32 program bytes, u32 CRC-32 of what follows and the flags


class SeccompFilter(Record):
    """What seccomp(2) takes: `program` is an array of struct sock_filter, `flags` are SECCOMP_FILTER_FLAG_*.

    `unknown` are names in the profile that this version's tables do not have; such rules have no effect.
    """

    program: bytes
    flags: int
    unknown: tuple[str, ...] = ()


def load_filter(profile: str | None, caps: int, cache_dir: str | None) -> SeccompFilter | None:
    """The filter for a container whose capability mask is `caps`; None for no filter.

    `profile` is None or "builtin" for the default policy, "unconfined", or the path of a profile in Docker's JSON
    format. `cache_dir` None keeps nothing. UsageError for a profile that cannot be read or makes no sense,
    HostError where the machine has no tables.
    """
    if profile == "unconfined":
        return None
    system = os.uname()
    if profile is None or profile == "builtin":
        relevant = caps & RELEVANT_CAPS
        return _cached(cache_dir, f"default-{VERSION}", relevant, system, None)
    try:
        with open(profile, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"cannot read the seccomp profile {profile!r}: {error.strerror}") from error
    return filter_of(content, caps, cache_dir)


def filter_of(content: bytes, caps: int, cache_dir: str | None) -> SeccompFilter | None:
    """The same for a profile's JSON text, which may be an OCI spec's `linux.seccomp`."""
    import hashlib

    system = os.uname()
    return _cached(cache_dir, f"{hashlib.sha256(content).hexdigest()}-{VERSION}", caps, system, content)


def _cached(
    cache_dir: str | None, key: str, caps: int, system: os.uname_result, content: bytes | None
) -> SeccompFilter | None:
    """Read the cache, or compile and fill it. `content` None is the default policy."""
    path = None
    if cache_dir is not None:
        kernel = ".".join(system.release.split(".")[:2])
        path = f"{cache_dir}/seccomp/{key}-{system.machine}-{kernel}-{caps:x}"
        found = _read(path)
        if found is not None:
            return found
    built = _build(caps, system, content)
    if built is not None and path is not None:
        _write(path, built)
    return built


def _build(caps: int, system: os.uname_result, content: bytes | None) -> SeccompFilter | None:
    from tiffin.runtime.security.seccomp_compile import compile_profile
    from tiffin.runtime.security.seccomp_profile import parse_profile

    raw: Any
    if content is None:
        from tiffin.runtime.security.default_profile import default_profile

        raw = default_profile()
    else:
        import json

        try:
            raw = json.loads(content)
        except ValueError as error:
            raise UsageError(f"the seccomp profile is not JSON: {error}") from error
    profile = parse_profile(raw, caps, system.machine, system.release)
    if profile is None:
        return None
    compiled = compile_profile(profile)
    return SeccompFilter(program=compiled.program, flags=compiled.flags, unknown=compiled.unknown)


def _read(path: str) -> SeccompFilter | None:
    """The filter in a cache file, None when it is absent or not exactly what `_write` wrote."""
    from zlib import crc32

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(descriptor, 1 << 20)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    flags, size, checksum = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8, 12))
    body = data[_HEADER:]
    if data[:4] != _MAGIC or crc32(body, flags) != checksum or size > len(body) or size % 8 or not size:
        return None
    return SeccompFilter(program=body[:size], flags=flags, unknown=tuple(body[size:].decode().split()))


def _write(path: str, built: SeccompFilter) -> None:
    """Put a cache file in place atomically. A cache that cannot be written costs time, not the container."""
    from zlib import crc32

    body = built.program + " ".join(built.unknown).encode()
    words = (built.flags, len(built.program), crc32(body, built.flags))
    data = _MAGIC + b"".join(word.to_bytes(4, "little") for word in words) + body
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
