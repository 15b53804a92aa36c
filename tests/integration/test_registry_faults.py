"""The registry client behind a line that cuts, delays, truncates, corrupts and refuses; each error with its words."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from harness.fault_proxy import Fault, FaultProxy, too_many, unavailable, web_page
from harness.registries import RegistryServer, free_port, registry
from tiffin.errors import InvalidImageError, NotFoundError, RegistryError, TiffinError, UsageError
from tiffin.registry.client import Registries
from tiffin.registry.names import Repository
from tiffin.registry.settings import Settings
from tiffin.registry.transport import Patience

OCI = "application/vnd.oci.image.manifest.v1+json"
BLOB = random.Random(1).randbytes(3_000_000)
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
UPLOAD = random.Random(2).randbytes(900_000)
HASTY = Patience(attempts=3, first_wait_s=0.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry with one blob and a manifest."""
    with registry(tmp_path_factory.mktemp("plain")) as running:
        with Registries(Settings()) as client:
            repository = Repository(host=running.host, path="team/app")
            client.upload_blob(
                repository, lambda: contextlib.nullcontext(io.BytesIO(BLOB)), digest=DIGEST, size=len(BLOB)
            )
            put_manifest(client, repository)
        yield running


def put_manifest(client: Registries, repository: Repository) -> str:
    descriptor = f'{{"mediaType":"application/octet-stream","digest":"{DIGEST}","size":{len(BLOB)}}}'
    body = f'{{"schemaVersion":2,"mediaType":"{OCI}","config":{descriptor},"layers":[{descriptor}]}}'
    return client.put_manifest(repository, "v1", OCI, body.encode())


@pytest.fixture
def proxy(server: RegistryServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waits: list[float]) -> Iterator[Registries]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Registries(Settings(), patience=HASTY, sleep=waits.append) as registries:
        yield registries


@pytest.fixture
def impatient(client: Registries) -> Iterator[Registries]:
    """A client that takes a second without a byte for too long."""
    with Registries(Settings(), patience=HASTY.replace(read_s=1.0)) as registries:
        yield registries


def at(proxy: FaultProxy) -> Repository:
    return Repository(host=proxy.host, path="team/app")


def told(raises: type[TiffinError], action: Callable[[], Any]) -> str:
    """What `action` raises, with the hint."""
    with pytest.raises(raises) as caught:
        action()
    assert type(caught.value) is raises or raises in (RegistryError, TiffinError)
    return str(caught.value)


# Blobs that come


def test_a_cut_blob_is_continued(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, cut_after=1_000_000), Fault(path=DIGEST, cut_after=1_000_000))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        assert stream.read() == BLOB
        assert stream.resumed == 2
    requests = proxy.requests("GET", DIGEST)
    assert [request.headers.get("Range") for request in requests] == [None, "bytes=1000000-", "bytes=2000000-"]
    assert [request.sent[0] for request in requests] == [1_000_000] * 3


def test_progress_counts_more_than_attempts(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, cut_after=200_000, times=10))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        assert stream.read() == BLOB
        assert stream.resumed == 10


def test_a_silent_registry_is_asked_again(impatient: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, stall_after=500_000))
    with impatient.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        assert stream.read() == BLOB
        assert stream.resumed >= 1


def test_a_registry_without_ranges_begins_anew(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, cut_after=1_000_000), Fault(path=DIGEST, no_range=True))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        assert stream.read() == BLOB
    assert [request.sent[0] for request in proxy.requests("GET", DIGEST)] == [1_000_000, len(BLOB)]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}"},
        {"Content-Range": f"bytes 1000000-{len(BLOB) - 1}/77"},
        {"Content-Range": None},
        {"ETag": '"another"'},
    ],
)
def test_a_wrong_range_is_not_taken(client: Registries, proxy: FaultProxy, headers: dict[str, str | None]) -> None:
    proxy.add(Fault(path=DIGEST, cut_after=1_000_000), Fault(path=DIGEST, headers=headers))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        assert stream.read() == BLOB
    assert proxy.count("GET", DIGEST) == 3


def test_a_blob_that_is_cut_again_and_again(client: Registries, proxy: FaultProxy, waits: list[float]) -> None:
    proxy.add(Fault(path=DIGEST, cut_after=5000), Fault(path=DIGEST, cut_after=0, times=None))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        message = told(RegistryError, stream.read)
    assert message == f"{proxy.host} cut the connection after 5000 bytes of {DIGEST} (3 attempts)"
    assert len(waits) == 2


def test_a_registry_that_goes_away_in_a_blob(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, cut_after=5000), Fault(path=DIGEST, refuse=True, times=None))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        message = told(RegistryError, stream.read)
    assert message == f"{proxy.host} cut the connection (3 attempts)"


def test_a_truncated_blob_just_ends(client: Registries, proxy: FaultProxy) -> None:
    """The registry says that this is all: whoever reads it sees that size and digest are wrong."""
    proxy.add(Fault(path=DIGEST, truncate=1000))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        assert stream.read() == BLOB[:1000]
        assert (stream.size_bytes, stream.resumed) == (1000, 0)


def test_an_endless_blob_ends_a_byte_late(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, endless=True))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        data = stream.read()
    assert data == BLOB + b"\0"


def test_a_corrupt_blob_comes_as_it_is(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, corrupt_at=2_999_999))
    with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
        assert hashlib.sha256(stream.read()).hexdigest() != DIGEST.removeprefix("sha256:")


# Answers that are none


def test_a_corrupt_manifest_is_refused(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path="/manifests/", corrupt_at=20, times=None))
    message = told(InvalidImageError, lambda: client.manifest(at(proxy), "v1"))
    assert message.startswith(f"manifest {proxy.host}/team/app:v1: its digest is sha256:")
    assert message.endswith(": it was damaged or exchanged")
    digest = client.resolve(at(proxy), "v1").digest
    message = told(InvalidImageError, lambda: client.manifest(at(proxy), digest))
    assert f"and not {digest}: it was damaged or exchanged" in message


def test_a_manifest_under_another_digest_is_refused(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path="/manifests/", headers={"Docker-Content-Digest": DIGEST}))
    digest = f"sha256:{'1' * 64}"
    proxy.add(Fault(path=digest, answer=(200, {"Docker-Content-Digest": DIGEST, "Content-Type": OCI}, b"{}")))
    assert told(InvalidImageError, lambda: client.manifest(at(proxy), "v1")).endswith(
        f"and not {DIGEST}: it was damaged or exchanged"
    )
    assert told(InvalidImageError, lambda: client.resolve(at(proxy), digest)) == (
        f"{proxy.host}/team/app@{digest}: {proxy.host} says that its digest is {DIGEST}"
    )


def test_a_manifest_of_50_mb_is_refused(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path="/manifests/", endless=True))
    assert told(InvalidImageError, lambda: client.manifest(at(proxy), "v1")) == (
        f"{proxy.host}: manifest {proxy.host}/team/app:v1: the answer has more than 4 MiB"
    )
    assert proxy.requests("GET", "/manifests/")[0].sent[0] < 30_000_000


def test_a_cut_manifest_is_asked_for_again(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path="/manifests/", cut_after=100, times=2))
    assert client.manifest(at(proxy), "v1").media_type == OCI
    assert proxy.count("GET", "/manifests/") == 3


def test_a_web_page_is_no_registry(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(web_page(path="/v2/"))
    assert told(RegistryError, lambda: client.manifest(at(proxy), "v1")) == (
        f"{proxy.host}: GET /v2/: answered with a web page (HTTP 200), so it is no registry, or something stands"
        " before it"
    )
    proxy.add(web_page(path="/manifests/"), web_page(404, path="/blobs/"))
    assert told(RegistryError, lambda: client.manifest(at(proxy), "v1")) == (
        f"{proxy.host}: manifest {proxy.host}/team/app:v1: answered with a web page (HTTP 200), so it is no registry,"
        " or something stands before it"
    )
    assert told(RegistryError, lambda: client.open_blob(at(proxy), DIGEST)) == (
        f"{proxy.host}: blob {DIGEST}: answered with a web page (HTTP 404), so it is no registry, or something stands"
        " before it"
    )


def test_a_web_page_for_a_blob_is_refused(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(web_page(path="/blobs/"))
    assert told(RegistryError, lambda: client.open_blob(at(proxy), DIGEST)) == (
        f"{proxy.host}: blob {DIGEST}: answered with a web page (HTTP 200), so it is no registry, or something stands"
        " before it"
    )


def test_what_else_is_no_registry(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path="/v2/", answer=(404, {"Content-Type": "text/plain"}, b"404 page not found")))
    assert (
        told(RegistryError, lambda: client.check(proxy.host))
        == f"{proxy.host}: GET /v2/: answered HTTP 404 (Not Found)"
    )
    proxy.add(Fault(path="/v2/", answer=(299, {}, b"")))
    assert (
        told(RegistryError, lambda: client.check(proxy.host))
        == f"{proxy.host}: GET /v2/: answered HTTP 299 (unknown status)"
    )
    proxy.add(Fault(path="/tags/", answer=(200, {"Content-Type": "application/json"}, b"[]")))
    assert told(RegistryError, lambda: client.tags(at(proxy))) == (
        f"{proxy.host}: tags of {proxy.host}/team/app: answered HTTP 200 (OK), and no list"
    )


def test_errors_are_shown_as_the_registry_words_them(client: Registries, proxy: FaultProxy) -> None:
    errors = b'{"errors":[{"code":"UNSUPPORTED","message":"read\\u001b[31m only"},{"code":"X"}, 3, {"message":"m"}]}'
    proxy.add(Fault(path="/manifests/", answer=(405, {}, errors), times=None))
    assert told(RegistryError, lambda: client.manifest(at(proxy), "v1")) == (
        f"{proxy.host}: manifest {proxy.host}/team/app:v1: unsupported: read [31m only; x; m"
    )


# Patience


def test_429_is_obeyed(client: Registries, proxy: FaultProxy, waits: list[float]) -> None:
    proxy.add(too_many("7", path="/manifests/", times=2))
    client.manifest(at(proxy), "v1")
    assert waits == [7.0, 7.0]
    proxy.add(too_many(formatdate(time.time() + 30, usegmt=True), path=DIGEST))
    client.open_blob(at(proxy), DIGEST).close()
    assert 25 < waits[2] <= 30


def test_429_has_bounds(client: Registries, proxy: FaultProxy, waits: list[float]) -> None:
    proxy.add(too_many("25", path="/manifests/", times=None))
    with pytest.raises(RegistryError) as caught:
        client.manifest(at(proxy), "v1")
    assert str(caught.value) == (
        f"{proxy.host} asks to wait 25 s, after 50 s already (too many requests); Tiffin waits no longer than 60 s"
        " (try again later; those who log in may ask more often)"
    )
    assert caught.value.http_status == 429
    assert waits == [25.0, 25.0]
    proxy.clear()
    proxy.add(too_many("86400", path="/manifests/"))
    assert told(RegistryError, lambda: client.resolve(at(proxy), "v1")).startswith(
        f"{proxy.host} asks to wait 86400 s (too many requests); Tiffin waits no longer than 60 s"
    )


@pytest.mark.parametrize("retry_after", [None, "0", "soon", "-5"])
def test_429_without_a_time_backs_off(
    client: Registries, proxy: FaultProxy, waits: list[float], retry_after: str | None
) -> None:
    proxy.add(too_many(retry_after, path="/manifests/", times=None))
    assert told(RegistryError, lambda: client.manifest(at(proxy), "v1")) == (
        f"{proxy.host}: manifest {proxy.host}/team/app:v1: toomanyrequests: pull rate limit (3 attempts)"
    )
    assert proxy.count("GET", "/manifests/") == 3


def test_back_off_grows() -> None:
    patience = Patience()
    waits = [patience.wait_s(failed) for failed in range(1, 8)]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, (0.5, 1, 2, 4, 8, 10, 10), strict=True))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_passing_failures_pass(client: Registries, proxy: FaultProxy, status: int) -> None:
    proxy.add(*(unavailable(status, path=path, times=2) for path in ("/manifests/", DIGEST)))
    client.manifest(at(proxy), "v1")
    client.open_blob(at(proxy), DIGEST).close()


def test_failures_that_stay(client: Registries, proxy: FaultProxy) -> None:
    client.check(proxy.host)
    proxy.add(unavailable(path="/", times=None))
    assert told(RegistryError, lambda: client.manifest(at(proxy), "v1")) == (
        f"{proxy.host}: manifest {proxy.host}/team/app:v1: answered HTTP 503 (Service Unavailable) (3 attempts)"
    )
    proxy.clear()
    proxy.add(unavailable(501, path="/", times=None))
    assert told(RegistryError, lambda: client.manifest(at(proxy), "v1")) == (
        f"{proxy.host}: manifest {proxy.host}/team/app:v1: answered HTTP 501 (Not Implemented)"
    )
    assert proxy.count() == 1


def test_the_first_question_is_patient_too(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(unavailable(path="/v2/", times=1), too_many("1", path="/v2/"))
    client.check(proxy.host)


def test_a_registry_that_is_always_unavailable(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(unavailable(path="/", times=None))
    assert told(RegistryError, lambda: client.check(proxy.host)) == (
        f"{proxy.host}: GET /v2/: answered HTTP 503 (Service Unavailable) (3 attempts)"
    )
    assert proxy.count() == 3


def test_nobody_listens(client: Registries) -> None:
    host = f"localhost:{free_port()}"
    assert told(RegistryError, lambda: client.check(host)) == f"cannot reach {host}: Connection refused"


def test_no_such_host(client: Registries) -> None:
    assert told(RegistryError, lambda: client.check("nowhere.invalid")) == (
        "cannot find nowhere.invalid: no such host name, or no name server answers"
    )


def test_no_address(client: Registries) -> None:
    assert told(UsageError, lambda: client.check("localhost:99999")) == "localhost:99999 is no host with a port"


def test_a_silent_registry(impatient: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path="/manifests/", delay_s=20, times=None))
    assert told(RegistryError, lambda: impatient.resolve(at(proxy), "v1")) == (
        f"{proxy.host} was silent for too long (3 attempts)"
    )


# Uploads


def upload(client: Registries, proxy: FaultProxy, opened: list[int], **options: Any) -> str:
    def make() -> contextlib.AbstractContextManager[io.BytesIO]:
        opened.append(1)
        return contextlib.nullcontext(io.BytesIO(UPLOAD))

    repository = Repository(host=proxy.host, path=f"team/up{time.time_ns()}")
    known = {"digest": f"sha256:{hashlib.sha256(UPLOAD).hexdigest()}", "size": len(UPLOAD)}
    digest = client.upload_blob(repository, make, **{**known, **options})
    with client.open_blob(repository, digest, len(UPLOAD)) as stream:
        assert stream.read() == UPLOAD
    return digest


def test_a_cut_upload_begins_anew(client: Registries, proxy: FaultProxy) -> None:
    opened: list[int] = []
    proxy.add(Fault(method="PUT", cut_request_after=300_000), unavailable(method="PUT"))
    upload(client, proxy, opened)
    assert (len(opened), proxy.count("POST"), proxy.count("PUT")) == (3, 3, 3)


def test_a_chunk_that_did_not_arrive_is_sent_again(client: Registries, proxy: FaultProxy) -> None:
    opened: list[int] = []
    proxy.add(Fault(method="PATCH", refuse=True, skip=1))
    seen: list[int] = []
    upload(client, proxy, opened, chunk_bytes=300_000, progress=seen.append)
    assert (len(opened), proxy.count("POST")) == (2, 1)
    ranges = [request.headers["Content-Range"] for request in proxy.requests("PATCH")]
    assert ranges == ["0-299999", "300000-599999", "300000-599999", "600000-899999"]
    assert proxy.count("GET", "/uploads/") == 1
    assert seen == [300_000, 600_000, 900_000]


def test_a_chunk_that_arrived_in_part_begins_anew_here(client: Registries, proxy: FaultProxy) -> None:
    """docker-registry does not tell how much of it there is (the address of the upload holds its size)."""
    opened: list[int] = []
    proxy.add(Fault(method="PATCH", cut_request_after=150_000, skip=1))
    seen: list[int] = []
    upload(client, proxy, opened, chunk_bytes=300_000, progress=seen.append)
    assert (len(opened), proxy.count("POST")) == (2, 2)
    assert seen == [300_000, 0, 300_000, 600_000, 900_000]


def test_beginning_anew_has_an_end(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(*(Fault(method="PATCH", skip=1, cut_request_after=1000) for _ in range(9)))
    message = told(TiffinError, lambda: upload(client, proxy, [], chunk_bytes=300_000))
    assert message.endswith("(3 attempts)")


def test_an_upload_of_unknown_size_and_digest(client: Registries, proxy: FaultProxy) -> None:
    opened: list[int] = []
    proxy.add(Fault(method="PATCH", refuse=True), unavailable(method="PATCH", skip=1))
    upload(client, proxy, opened, chunk_bytes=400_000, digest=None, size=None)
    assert len(opened) == 1


def test_the_least_size_of_chunks_is_obeyed(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(method="POST", headers={"OCI-Chunk-Min-Length": "500000"}))
    upload(client, proxy, [], chunk_bytes=100_000)
    ranges = [request.headers["Content-Range"] for request in proxy.requests("PATCH")]
    assert ranges == ["0-499999", "500000-899999"]
    proxy.add(Fault(method="POST", headers={"OCI-Chunk-Min-Length": "500000000"}))
    assert told(RegistryError, lambda: upload(client, proxy, [], chunk_bytes=100_000, size=None)) == (
        f"{proxy.host} asks for chunks of 500000000 bytes at least, which is too much"
    )


def test_an_upload_session_that_is_lost(client: Registries, proxy: FaultProxy) -> None:
    opened: list[int] = []
    unknown = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}'
    proxy.add(Fault(method="PATCH", answer=(404, {}, unknown), skip=1))
    upload(client, proxy, opened, chunk_bytes=300_000)
    assert (len(opened), proxy.count("POST")) == (2, 2)
    proxy.clear()
    proxy.add(Fault(method="PUT", answer=(404, {}, unknown), times=None))
    assert told(NotFoundError, lambda: upload(client, proxy, opened)).endswith(
        ": blob upload unknown: blob upload unknown to registry (3 attempts)"
    )


def test_a_wrong_digest_is_refused_by_the_registry(client: Registries, proxy: FaultProxy) -> None:
    repository = Repository(host=proxy.host, path="team/wrong")

    def send() -> None:
        client.upload_blob(repository, lambda: contextlib.nullcontext(io.BytesIO(b"x")), digest=DIGEST, size=1)

    assert told(RegistryError, send) == (
        f"{proxy.host}: upload of {DIGEST} to {repository}: digest invalid: provided digest did not match uploaded"
        " content"
    )
    assert proxy.count("PUT") == 1


@pytest.mark.parametrize("chunk_bytes", [3, 100])
@pytest.mark.parametrize(
    ("size", "message"),
    [
        (5, "the content to upload ended after 4 bytes of 5"),
        (3, "the content to upload has more than the 3 bytes that it should have"),
    ],
)
def test_content_of_another_size(
    client: Registries, proxy: FaultProxy, size: int, message: str, chunk_bytes: int
) -> None:
    repository = Repository(host=proxy.host, path="team/wrong")

    def send() -> None:
        client.upload_blob(
            repository,
            lambda: contextlib.nullcontext(io.BytesIO(b"1234")),
            digest=DIGEST,
            size=size,
            chunk_bytes=chunk_bytes,
        )

    assert told(RegistryError, send) == message


class Breaking:
    """Content that breaks in the middle."""

    def __init__(self) -> None:
        self._left = 2

    def read(self, size: int, /) -> bytes:
        self._left -= 1
        if not self._left:
            raise OSError(5, "the disk is ill")
        return bytes(min(size, 1000))


@pytest.mark.parametrize("chunk_bytes", [100, 100_000])
def test_failures_of_the_content_come_through(client: Registries, proxy: FaultProxy, chunk_bytes: int) -> None:
    repository = Repository(host=proxy.host, path="team/wrong")
    with pytest.raises(OSError, match="the disk is ill"):
        client.upload_blob(
            repository, lambda: contextlib.nullcontext(Breaking()), digest=DIGEST, size=5000, chunk_bytes=chunk_bytes
        )


# Redirects


def test_redirects_are_followed(client: Registries, proxy: FaultProxy, server: RegistryServer) -> None:
    target = f"{server.url}/v2/team/app/blobs/{DIGEST}"
    proxy.add(
        Fault(path=DIGEST, answer=(307, {"Location": target}, b"")),
        Fault(path=DIGEST, answer=(302, {"Location": target}, b"")),
    )
    for _ in range(2):
        with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
            assert stream.read() == BLOB


def test_a_redirected_blob_is_continued_from_the_registry(
    client: Registries, proxy: FaultProxy, server: RegistryServer
) -> None:
    with FaultProxy(server.port) as storage:
        target = f"http://{storage.host}/v2/team/app/blobs/{DIGEST}"
        proxy.add(Fault(path=DIGEST, answer=(307, {"Location": target}, b""), times=None))
        storage.add(Fault(cut_after=1_000_000))
        with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
            assert stream.read() == BLOB
        assert storage.requests()[1].headers["Range"] == "bytes=1000000-"
    assert proxy.count("GET", DIGEST) == 2


def test_redirects_end(client: Registries, proxy: FaultProxy) -> None:
    proxy.add(Fault(path=DIGEST, answer=(307, {"Location": f"/v2/team/app/blobs/{DIGEST}"}, b""), times=None))
    assert (
        told(RegistryError, lambda: client.open_blob(at(proxy), DIGEST)) == f"{proxy.host} redirects more than 10 times"
    )
    proxy.clear()
    proxy.add(Fault(path=DIGEST, answer=(307, {"Location": "file:///etc/passwd"}, b"")))
    assert told(RegistryError, lambda: client.open_blob(at(proxy), DIGEST)) == (
        f"{proxy.host} redirects to what is no web address: 'file:///etc/passwd'"
    )


def test_a_failure_where_a_redirect_leads(client: Registries, proxy: FaultProxy, server: RegistryServer) -> None:
    target = f"{server.url}/v2/team/none/blobs/{DIGEST}"
    proxy.add(Fault(path=DIGEST, answer=(307, {"Location": target}, b"")))
    assert told(NotFoundError, lambda: client.open_blob(at(proxy), DIGEST)) == (
        f"{server.host} (where {proxy.host} sent us): blob {DIGEST}: blob unknown: blob unknown to registry"
    )


# Memory


def test_memory_stays_small(client: Registries, proxy: FaultProxy) -> None:
    import tracemalloc

    client.check(proxy.host)
    tracemalloc.start()
    try:
        with client.open_blob(at(proxy), DIGEST, len(BLOB)) as stream:
            while stream.read(65536):
                pass
        client.upload_blob(
            at(proxy),
            lambda: contextlib.nullcontext(io.BytesIO(BLOB)),
            digest=DIGEST,
            size=len(BLOB),
            chunk_bytes=200_000,
        )
        client.upload_blob(at(proxy), lambda: contextlib.nullcontext(io.BytesIO(BLOB)), digest=DIGEST, size=len(BLOB))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000
