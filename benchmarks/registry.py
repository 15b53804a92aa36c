"""Pulling and pushing the same image from and to a registry on loopback: time, processor time, memory, disk."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import registry_image
from measure import Series, Spent, interleaved, pss_bytes
from peers import CommandPeer, output
from report import Row, Target, size_row, time_row

LOADED = "registry.example/bench:loaded"
ROUNDS = 3
PEAK_BYTES = 100_000_000
SAMPLE_S = 0.03


def measure(engines: Sequence[CommandPeer], work: str) -> list[Row]:
    """All rows; none where the registry or skopeo, which puts the image there, is not installed."""
    if not (shutil.which("docker-registry") and shutil.which("skopeo")):
        return [Row("`pull` and `push`", {}, "not measured: docker-registry or skopeo is not installed", False)]
    layouts = {"one": registry_image.layout(), "two": registry_image.layout(registry_image.ONE_MORE)}
    archive = _docker_archive(layouts["one"], work)
    with _registry(f"{work}/registry") as host:
        names = {tag: f"{host}/bench:{tag}" for tag in layouts}
        for tag, layout in layouts.items():
            _skopeo(work, f"oci:{layout}", f"docker://{names[tag]}", "--dest-tls-verify=false")
        rows = _told(_pull(engines, names["one"], layouts["one"]))
        rows += _told(_second_pull(engines, names["one"], names["two"], layouts["two"]))
    rows += _told(_load(engines, archive))
    rows += _told(_save_and_push(engines, archive, work))
    return rows


def _told(rows: list[Row]) -> list[Row]:
    """All of it takes minutes, so that what is known already is told."""
    for row in rows:
        print(f"  {row.what}: {row.figures} {row.verdict}", file=sys.stderr, flush=True)
    return rows


def _pull(engines: Sequence[CommandPeer], name: str, layout: str) -> list[Row]:
    def pull(engine: CommandPeer) -> Spent:
        return engine.time("pull", *engine.transfer_options, name)

    series, processor = _timed(engines, pull, lambda engine: engine.remove_image(name))
    peaks = {}
    for engine in engines:
        peaks[engine.name] = _peak_bytes(engine, "pull", *engine.transfer_options, name)
        engine.remove_image(name)
    size = sum(_layer_sizes(layout)) / 1e6
    return [
        time_row(f"`pull` of three layers, {size:.0f} MB unpacked", series, [Target("Docker", 0.6)], unit="s"),
        _processor_row("processor time of that", processor),
        size_row("peak memory (PSS) of all its processes", peaks, PEAK_BYTES),
    ]


def _second_pull(engines: Sequence[CommandPeer], first: str, second: str, layout: str) -> list[Row]:
    """The second image differs by a package, so two of its three layers do; nearly all of their files are the same."""
    disk: dict[str, int] = {}
    processor: dict[str, list[float]] = {engine.name: [] for engine in engines}

    def pull(engine: CommandPeer) -> Spent:
        engine.ask("pull", *engine.transfer_options, first)
        os.sync()
        before, begun_s = _disk_bytes(engine), _processor_s(engine)
        spent = engine.time("pull", *engine.transfer_options, second)
        processor[engine.name].append(_processor_s(engine) - begun_s)
        os.sync()
        disk[engine.name] = _disk_bytes(engine) - before
        for name in (first, second):
            engine.remove_image(name)
        return spent

    series = interleaved({engine.name: partial(pull, engine) for engine in engines}, ROUNDS)
    rows = [
        time_row("`pull` of one that differs by a package", series, [Target("Docker", 0.6)], unit="s"),
        _processor_row("processor time of that", processor),
    ]
    whole = sum(_layer_sizes(layout))
    row = size_row("disk that this second image takes", disk, whole // 5)
    words = f"{disk['Tiffin'] / whole:.2f} × its {whole / 1e6:.0f} MB (≤ 0.2: {'MISSED' if row.missed else 'reached'})"
    if "Docker" in disk:
        words += f"; {disk['Tiffin'] / disk['Docker']:.2f} × Docker"
    return [*rows, row._replace(verdict=words)]


def _load(engines: Sequence[CommandPeer], archive: str) -> list[Row]:
    def load(engine: CommandPeer) -> Spent:
        return engine.time("load", "-i", archive)

    series, processor = _timed(engines, load, lambda engine: engine.remove_image(LOADED))
    return [
        time_row("`load` of the same", series, [Target("Docker", 0.6)], unit="s"),
        _processor_row("processor time of that", processor),
    ]


def _save_and_push(engines: Sequence[CommandPeer], archive: str, work: str) -> list[Row]:
    """Of an image that was loaded, so that every engine has to pack its layers."""
    for engine in engines:
        engine.ask("load", "-i", archive)
    saved = f"{work}/saved.tar"

    def save(engine: CommandPeer) -> Spent:
        spent = engine.time("save", "-o", saved, LOADED)
        os.unlink(saved)
        return spent

    saves, saving = _timed(engines, save, lambda _: None)

    def push(engine: CommandPeer) -> Spent:
        with _registry(f"{work}/empty") as host:
            engine.ask("tag", LOADED, f"{host}/bench:pushed")
            spent = engine.time("push", *engine.transfer_options, f"{host}/bench:pushed")
            engine.ask("rmi", f"{host}/bench:pushed")
        shutil.rmtree(f"{work}/empty")
        return spent

    pushes, pushing = _timed(engines, push, lambda _: None)
    for engine in engines:
        engine.remove_image(LOADED)
    return [
        time_row("`save` of the same", saves, [Target("Docker", 1.0)], unit="s"),
        _processor_row("processor time of that", saving),
        time_row("`push` of the same to an empty registry", pushes, [Target("Docker", 1.0)], unit="s"),
        _processor_row("processor time of that", pushing),
    ]


def _timed(
    engines: Sequence[CommandPeer], action: Callable[[CommandPeer], Spent], undo: Callable[[CommandPeer], None]
) -> tuple[dict[str, Series], dict[str, list[float]]]:
    """Rounds of an action, and the processor time of each: the command's, and its daemon's where there is one."""
    processor: dict[str, list[float]] = {engine.name: [] for engine in engines}

    def once(engine: CommandPeer) -> Spent:
        os.sync()
        before = _processor_s(engine)
        spent = action(engine)
        processor[engine.name].append(_processor_s(engine) - before)
        undo(engine)
        return spent

    series = interleaved({engine.name: partial(once, engine) for engine in engines}, ROUNDS)
    return series, {name: spent[1:] for name, spent in processor.items()}  # the first was the warm-up


def _processor_row(what: str, processor: dict[str, list[float]]) -> Row:
    medians = {name: statistics.median(spent) for name, spent in processor.items()}
    verdict = f"{medians['Tiffin'] / medians['Docker']:.2f} × Docker" if "Docker" in medians else ""
    return Row(what, {name: f"{spent:.2f} s" for name, spent in medians.items()}, verdict, False)


def _processor_s(engine: CommandPeer) -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = usage.ru_utime + usage.ru_stime
    ticks = 0
    for pid in _tree(engine.daemon_pid()):
        try:
            with open(f"/proc/{pid}/stat") as file:
                ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue
    return spent + ticks / os.sysconf("SC_CLK_TCK")


def _peak_bytes(engine: CommandPeer, *arguments: str) -> int:
    """The largest sum of what the command's processes and the daemon's hold, looked at all the time."""
    peak = 0
    with subprocess.Popen(
        [*engine.command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            held = 0
            for pid in (*_tree(process.pid), *_tree(engine.daemon_pid())):
                try:
                    held += pss_bytes(pid)
                except (OSError, RuntimeError):
                    continue
            peak = max(peak, held)
            time.sleep(SAMPLE_S)
    if process.returncode:
        raise RuntimeError(f"{engine.name} {' '.join(arguments)}: exit code {process.returncode}")
    return peak


def _tree(top: int) -> list[int]:
    """A process and all that descend from it; none for 0."""
    if not top:
        return []
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                children.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
        except OSError:
            continue
    found = [top]
    for pid in found:
        found += children.get(pid, [])
    return found


def _disk_bytes(engine: CommandPeer) -> int:
    return int(output(["du", "-sx", "--block-size=1", engine.store]).split()[0])


def _layer_sizes(layout: str) -> list[int]:
    with open(f"{layout}/index.json") as file:
        digest = json.load(file)["manifests"][0]["digest"]
    with open(f"{layout}/blobs/{digest.replace(':', '/')}") as file:
        return [layer["size"] for layer in json.load(file)["layers"]]


def _docker_archive(layout: str, work: str) -> str:
    path = f"{work}/three-layers.tar"
    _skopeo(work, f"oci:{layout}", f"docker-archive:{path}:{LOADED}")
    return path


def _skopeo(work: str, source: str, target: str, *options: str) -> None:
    policy = f"{work}/accept-all.json"
    with open(policy, "w") as file:
        file.write('{"default":[{"type":"insecureAcceptAnything"}]}')
    output(["skopeo", "--policy", policy, "--tmpdir", work, "copy", "--quiet", *options, source, target])


@contextmanager
def _registry(directory: str) -> Iterator[str]:
    """Debian's docker-registry on a free port; its host."""
    os.makedirs(directory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": f"{directory}/storage"}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "only for benchmarks"},
    }
    with open(f"{directory}/config.yml", "w") as file:
        json.dump(config, file)
    with open(f"{directory}/log", "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", f"{directory}/config.yml"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("docker-registry does not start") from None
                time.sleep(0.05)
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait()
