"""Small files of a container: the generated ones in its /etc, and the accounts that its image brings."""

from __future__ import annotations

import os
import stat

from tiffin.errors import os_error
from tiffin.model.container import Container
from tiffin.runtime.spec import Files
from tiffin.storage.inroot import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.paths import Paths
    from tiffin.storage.rootfs import RootfsDriver

MAX_ACCOUNT_BYTES = 1 << 20
LOCAL_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def write(paths: Paths, container: Container) -> Files:
    """Write hostname, hosts and resolv.conf anew for a start; with the host's network the host's own are copied."""
    directory = paths.container(container.id)  # a container can fill them: on disk, not in the host's memory
    network = container.config.network
    if network.startswith("container:") and not container.config.pod:
        # As Docker: names go with the network, so that it is one file that all its containers see. A pod's member has
        # its own, since whose network it joins is another one's at every start.
        return _places(paths.container(network.removeprefix("container:")))
    host_network = network == "host"
    own_hosts = f"{LOCAL_HOSTS}127.0.1.1\t{container.hostname}\n".encode("utf-8", "surrogateescape")
    hosts = _read("/etc/hosts") if host_network else own_hosts
    files = _places(directory)
    try:
        _write(files.hostname, container.hostname.encode("utf-8", "surrogateescape") + b"\n")
        _write(files.hosts, hosts)
        _write(files.resolv_conf, _read("/etc/resolv.conf"))
    except OSError as error:
        raise os_error(error, f"cannot prepare container {container.name!r}") from error
    return files


def _places(directory: str) -> Files:
    return Files(hostname=f"{directory}/hostname", hosts=f"{directory}/hosts", resolv_conf=f"{directory}/resolv.conf")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, 0o644)
        os.write(fd, data)
    finally:
        os.close(fd)


def account_file(driver: RootfsDriver, container: Container, path: str) -> bytes | None:
    """/etc/passwd or /etc/group of a container that does not run: its own changed copy, else the image's."""
    upper = driver.upper(container.id)
    if upper is None:
        return driver.image_file(container.image_id, path)
    try:
        root = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return driver.image_file(container.image_id, path)
    try:
        fd = open_in_root(root, path)
    except OSError:
        return driver.image_file(container.image_id, path)
    finally:
        os.close(root)
    try:
        # With metacopy a file in `upper` may have new metadata only; its content is then still the image's.
        if stat.S_ISREG(os.fstat(fd).st_mode) and "trusted.overlay.metacopy" not in os.listxattr(fd):
            return os.read(fd, MAX_ACCOUNT_BYTES)
    finally:
        os.close(fd)
    return driver.image_file(container.image_id, path)
