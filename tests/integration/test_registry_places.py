"""Where the client goes: mirrors, locations, proxies, pages; what refers to what; many threads; skopeo as a witness."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.fault_proxy import Fault, FaultProxy, unavailable
from harness.registries import RegistryServer, authority, free_port, registry
from tiffin.errors import NotFoundError, RegistryError
from tiffin.registry.client import Registries
from tiffin.registry.names import Repository
from tiffin.registry.referrers import fallback_tag
from tiffin.registry.search import SearchResult, find
from tiffin.registry.settings import Mirror, Rule, Settings
from tiffin.registry.transport import Patience

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
HASTY = Patience(attempts=2, first_wait_s=0.0)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("plain")) as running:
        yield running


def door(settings: Settings | None = None, warned: list[str] | None = None) -> Registries:
    return Registries(settings or Settings(), patience=HASTY, warn=warned.append if warned is not None else None)


def blob(client: Registries, repository: Repository, data: bytes, media_type: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    client.upload_blob(repository, lambda: contextlib.nullcontext(io.BytesIO(data)), digest=digest, size=len(data))
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def image(client: Registries, repository: Repository, tag: str, layer: bytes = b"", **more: object) -> str:
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    document = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": blob(client, repository, config, CONFIG),
        "layers": [blob(client, repository, layer, LAYER)] if layer else [],
        **more,
    }
    body = json.dumps(document).encode()
    return client.put_manifest(repository, tag or f"sha256:{hashlib.sha256(body).hexdigest()}", OCI, body)


# Mirrors


def test_a_location_is_read_and_the_name_is_written(server: RegistryServer) -> None:
    named = Repository(host=f"localhost:{free_port()}", path="named/app")
    rules = (Rule(prefix=f"{named.host}/named", location=f"{server.host}/real"),)
    with door() as client:
        digest = image(client, Repository(host=server.host, path="real/app"), "v1", b"layer")
    with door(Settings(rules=rules)) as client:
        assert client.manifest(named, "v1").digest == digest
        assert client.tags(named) == ["v1"]
        with pytest.raises(RegistryError) as caught:
            client.put_manifest(named, "v2", OCI, b"{}")
        assert str(caught.value) == f"cannot reach {named.host}: Connection refused"


def test_mirrors_in_order(server: RegistryServer) -> None:
    name = Repository(host=server.host, path="mirrored/app")
    with door() as client:
        digest = image(client, name, "v1", b"only here")
        other = image(client, Repository(host=server.host, path="copy/app"), "v1", b"elsewhere")
    layer = f"sha256:{hashlib.sha256(b'elsewhere').hexdigest()}"
    warned: list[str] = []
    closed = f"localhost:{free_port()}"
    with FaultProxy(server.port) as proxy:
        mirrors = (
            Mirror(location=f"{closed}/x"),
            Mirror(location=f"{proxy.host}/none"),
            Mirror(location=f"{proxy.host}/copy"),
        )
        rules = (Rule(prefix=f"{server.host}/mirrored", location=f"{server.host}/mirrored", mirrors=mirrors),)
        with door(Settings(rules=rules), warned) as client:
            assert client.manifest(name, "v1").digest == other
            assert client.manifest(name, digest).digest == digest  # no mirror has it
            with client.open_blob(name, layer) as stream:  # it is where the manifest came from, or else at a mirror
                assert stream.read() == b"elsewhere"
        assert warned == [f"mirror passed over: cannot reach {closed}: Connection refused"]
        asked = [request.path for request in proxy.requests() if request.path != "/v2/"]
        assert asked[:2] == ["/v2/none/app/manifests/v1", "/v2/copy/app/manifests/v1"]


def test_when_no_mirror_helps(server: RegistryServer) -> None:
    closed = [f"localhost:{free_port()}" for _ in range(2)]
    rules = (Rule(prefix=closed[0], location=closed[0], mirrors=(Mirror(location=closed[1]),)),)
    with door(Settings(rules=rules)) as client:
        with pytest.raises(RegistryError) as caught:
            client.manifest(Repository(host=closed[0], path="app"), "v1")
        assert str(caught.value) == (
            f"cannot reach {closed[0]}: Connection refused; before that: cannot reach {closed[1]}: Connection refused"
        )


def test_a_failing_mirror_is_not_waited_for(server: RegistryServer) -> None:
    name = Repository(host=server.host, path="mirrored/app")
    warned: list[str] = []
    with FaultProxy(server.port) as proxy:
        proxy.add(unavailable(path="/manifests/", times=None))
        rules = (Rule(prefix=server.host, location=server.host, mirrors=(Mirror(location=proxy.host),)),)
        with door(Settings(rules=rules), warned) as client:
            image(client, name, "v1")
            client.manifest(name, "v1")
        assert proxy.count("GET", "/manifests/") == 1
    assert warned == [
        f"mirror passed over: {proxy.host}: manifest {proxy.host}/mirrored/app:v1: answered HTTP 503"
        " (Service Unavailable)"
    ]


# Proxies


def test_through_a_proxy_in_plain(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(rules=(Rule(prefix="registry.invalid:5000", insecure=True),))
    repository = Repository(host="registry.invalid:5000", path="proxied/app")
    with FaultProxy(server.port) as proxy, door(settings) as client:
        monkeypatch.setenv("HTTP_PROXY", f"http://ann:sec%40ret@{proxy.host}")
        digest = image(client, repository, "v1", b"layer")
        assert client.resolve(repository, "v1").digest == digest
        request = proxy.requests("HEAD", "/manifests/v1")[0]
        assert request.path == "http://registry.invalid:5000/v2/proxied/app/manifests/v1"
        assert request.headers["proxy-authorization"] == "Basic YW5uOnNlY0ByZXQ="
        assert "Authorization" not in request.headers


def test_through_a_proxy_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = authority(tmp_path / "ca", names="DNS:registry.invalid")
    settings = Settings(rules=(Rule(prefix="registry.invalid", ca=str(ca.certificate)),))
    with (
        registry(tmp_path, tls=ca, check_name=False) as server,
        FaultProxy(server.port) as proxy,
        door(settings) as client,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.host)
        repository = Repository(host="registry.invalid", path="app")
        assert client.resolve(repository, image(client, repository, "v1")).media_type == OCI
        assert {request.path for request in proxy.requests()} == {"registry.invalid:443"}


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:secret@127.0.0.1:{port}")
    with door() as client:
        with pytest.raises(RegistryError) as caught:
            client.check("registry.invalid")
        assert str(caught.value) == (
            f"cannot reach registry.invalid through the proxy 127.0.0.1:{port}: Connection refused"
            " (HTTPS_PROXY or HTTP_PROXY names it)"
        )


def test_a_proxy_that_refuses(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultProxy(server.port) as proxy, door() as client:
        proxy.add(Fault(method="CONNECT", answer=(403, {}, b""), times=None))
        monkeypatch.setenv("HTTPS_PROXY", proxy.host)
        with pytest.raises(RegistryError) as caught:
            client.check("registry.invalid")
        assert str(caught.value) == (
            f"cannot reach registry.invalid through the proxy {proxy.host}: Tunnel connection failed: 403 Forbidden"
            " (HTTPS_PROXY or HTTP_PROXY names it)"
        )


# Lists


def test_lists_in_pages(server: RegistryServer) -> None:
    with FaultProxy(server.port) as proxy, door() as client:
        repository = Repository(host=proxy.host, path="paged/app")
        base = "/v2/paged/app/tags/list"
        for path, tags, link in (
            (f"{base}?n=2&last=b", ["c"], f'<http://{proxy.host}{base}?n=2&last=c>; rel="next"'),
            (f"{base}?n=2&last=c", ["d"], None),
            (base, ["b", "a"], f'<{base}?n=2&last=b>; rel="next"'),
        ):
            headers = {"Content-Type": "application/json"} | ({"Link": link} if link else {})
            proxy.add(Fault(path=path, answer=(200, headers, json.dumps({"name": "x", "tags": tags}).encode())))
        assert client.tags(repository) == ["a", "b", "c", "d"]
        proxy.add(Fault(path=base, answer=(200, {}, b'{"tags": null}')))
        assert client.tags(repository) == []


def test_pages_without_end(server: RegistryServer) -> None:
    with FaultProxy(server.port) as proxy, door() as client:
        base = "/v2/paged/app/tags/list"
        proxy.add(Fault(path=base, answer=(200, {"Link": f'<{base}>; rel="next"'}, b'{"tags": ["a"]}'), times=None))
        with pytest.raises(RegistryError) as caught:
            client.tags(Repository(host=proxy.host, path="paged/app"))
        assert str(caught.value) == f"{proxy.host}: tags of {proxy.host}/paged/app: the list goes in a circle"


def test_search_in_the_catalogue(tmp_path: Path) -> None:
    with registry(tmp_path) as server, door(Settings(search=(server.host,))) as client:
        for path in ("team/web", "team/app", "webserver"):
            image(client, Repository(host=server.host, path=path), "v1")
        names = [[result.name for result in find(client, term, 25)] for term in ("web", f"{server.host}/team", "none")]
        assert names == [["team/web", "webserver"], ["team/app", "team/web"], []]
        assert [result.name for result in find(client, f"{server.host}/", 2)] == ["team/app", "team/web"]


def test_search_by_the_registry_s_own(server: RegistryServer) -> None:
    results = {
        "results": [
            {"name": "team/web", "description": "a\n web  server", "star_count": 7, "is_official": True},
            {"name": "team/x", "description": None, "star_count": None},
            3,
        ]
    }
    with FaultProxy(server.port) as proxy, door() as client:
        proxy.add(Fault(path="/v1/search?q=we+b&n=3", answer=(200, {}, json.dumps(results).encode())))
        assert find(client, f"{proxy.host}/we b", 3) == [
            SearchResult(host=proxy.host, name="team/web", description="a web server", stars=7, official=True),
            SearchResult(host=proxy.host, name="team/x"),
        ]


def test_a_registry_that_cannot_be_searched(server: RegistryServer) -> None:
    with FaultProxy(server.port) as proxy, door() as client:
        proxy.add(Fault(path="/v2/_catalog", answer=(404, {}, b"")))
        with pytest.raises(RegistryError) as caught:
            find(client, f"{proxy.host}/x", 3)
        assert str(caught.value) == f"{proxy.host} has neither a search nor a catalogue"


# Referrers


def test_referrers_by_tag(server: RegistryServer) -> None:
    """docker-registry has no referrers API, so we keep the index that the specification asks for."""
    repository = Repository(host=server.host, path="referred/app")
    with door() as client:
        subject = image(client, repository, "v1", b"layer")
        assert client.referrers(repository, subject) == []
        about = {"mediaType": OCI, "digest": subject, "size": 1}
        found = [
            image(client, repository, "", subject=about, artifactType="application/x.sbom", annotations={"a": "b"}),
            image(client, repository, "", subject=about),
        ]
        image(client, repository, "", subject=about)  # the same again
        entries = client.referrers(repository, subject)
        assert [entry["digest"] for entry in entries] == found
        assert [entry["artifactType"] for entry in entries] == ["application/x.sbom", CONFIG]
        assert entries[0]["annotations"] == {"a": "b"}
        assert client.referrers(repository, subject, CONFIG) == entries[1:]
        assert client.manifest(repository, fallback_tag(subject)).media_type == INDEX


def test_referrers_by_the_api(server: RegistryServer) -> None:
    digest = f"sha256:{'1' * 64}"
    entries = [{"digest": "a", "artifactType": "x"}, {"digest": "b", "artifactType": "y"}]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    with FaultProxy(server.port) as proxy, door() as client:
        repository = Repository(host=proxy.host, path="referred/app")
        proxy.add(Fault(path=f"/referrers/{digest}", answer=(200, {"Content-Type": INDEX}, index), times=None))
        assert client.referrers(repository, digest) == entries
        assert client.referrers(repository, digest, "y") == entries[1:]
        assert proxy.requests()[-1].path.endswith(f"/referrers/{digest}?artifactType=y")
        proxy.add(Fault(method="PUT", headers={"OCI-Subject": digest}))
        proxy.clear()
        proxy.add(Fault(method="PUT", path="/manifests/", headers={"OCI-Subject": digest}))
        image(client, repository, "", subject={"mediaType": OCI, "digest": digest, "size": 1})
        assert proxy.count("PUT", "/manifests/") == 1  # no index by us where the registry keeps one


# Threads


def test_many_threads(server: RegistryServer) -> None:
    repository = Repository(host=server.host, path="threads/app")
    contents = [bytes([number]) * 200_000 for number in range(24)]
    with FaultProxy(server.port) as proxy, door() as client:
        through = repository.replace(host=proxy.host)
        proxy.add(*(Fault(path="/blobs/sha256", method="GET", cut_after=50_000) for _ in range(6)))

        def both(data: bytes) -> bytes:
            digest = str(blob(client, through, data, LAYER)["digest"])
            with client.open_blob(through, digest, len(data)) as stream:
                return stream.read()

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(both, contents)) == contents
        assert proxy.count("GET", "/v2/") - proxy.count("GET", "/blobs/") == 1  # who is there was asked once
    assert threading.active_count() < 20


# A witness


def test_skopeo_reads_what_we_push_and_we_what_it_pushes(server: RegistryServer, tmp_path: Path) -> None:
    repository = Repository(host=server.host, path="witness/app")

    def skopeo(*words: str) -> str:
        done = subprocess.run(["skopeo", *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with door() as client:
        digest = image(client, repository, "ours", b"a layer")
        source, target = (f"docker://{repository}:{tag}" for tag in ("ours", "theirs"))
        raw = skopeo("inspect", "--raw", "--tls-verify=false", source)
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
        skopeo("copy", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path}/layout:x")
        skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{tmp_path}/layout:x", target)
        assert client.resolve(repository, "theirs").digest == digest
        skopeo("delete", "--tls-verify=false", target)
        with pytest.raises(NotFoundError):
            client.manifest(repository, digest)
