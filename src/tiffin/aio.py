"""The engine for asyncio: what waits is awaited, on descriptors where there are any, else in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

from tiffin.containers.boot import BootResult
from tiffin.containers.command import words
from tiffin.containers.logs import LogLine
from tiffin.containers.result import Result
from tiffin.engine import Engine
from tiffin.errors import ConflictError
from tiffin.model.container import Container, ContainerConfig, ContainerInfo
from tiffin.model.event import Event
from tiffin.model.pod import Pod, PodInfo
from tiffin.model.stats import Stats
from tiffin.runtime.attach import Attachment

T = TypeVar("T")


class AsyncEngine:
    """An `Engine` for coroutines. It takes the same arguments; `engine` is the one underneath, for everything else.

    Every method raises what its namesake in `Engine` raises. Cancelling `run` kills and removes its container.
    """

    def __init__(self, root: str | None = None, **options: Any) -> None:
        self.engine = Engine(root, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.engine.close()

    async def call(self, method: Callable[..., T], /, *arguments: Any, **options: Any) -> T:
        """Any method of `engine`, in a thread: `await aio.call(aio.engine.import_image, file)`."""
        return await asyncio.to_thread(method, *arguments, **options)

    async def create(self, config: ContainerConfig) -> Container:
        return await asyncio.to_thread(self.engine.create, config)

    async def start(self, container: str, *, pass_fds: Sequence[int | tuple[str, int]] = ()) -> None:
        await asyncio.to_thread(self.engine.start, container, pass_fds=pass_fds)

    async def run(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        input: bytes | None = None,
        timeout_s: float | None = None,
        auto_remove: bool = True,
        **options: Any,
    ) -> Result:
        """Run a command in a new container to its end; captured output."""
        config = ContainerConfig(
            image=image,
            command=words(command),
            interactive=options.pop("interactive", False) or input is not None,
            auto_remove=auto_remove,
            **options,
        )
        beginning = asyncio.ensure_future(asyncio.to_thread(_begin, self.engine, config))
        done = False
        try:
            container, attachment = await asyncio.shield(beginning)
            try:
                async with asyncio.timeout(timeout_s):
                    result = await _converse(attachment, input)
            except TimeoutError:
                raise ConflictError(
                    f"container {container.name!r} still ran after the time allowed, and was killed"
                ) from None
            done = True
        finally:
            # Shielded, so that a task that is cancelled once more still leaves nothing behind.
            await asyncio.shield(_end(self.engine, beginning, remove=auto_remove or not done))
        return result

    async def wait(self, container: str) -> int:
        """Wait until a container has ended; its exit code. No thread is held while it runs."""
        info = await asyncio.to_thread(self.engine.container, container)
        if info.state.status == "running":
            await _process_end(info.state.pid)
        return await asyncio.to_thread(self.engine.wait, info.container.id)

    async def healthcheck(self, container: str) -> Result:
        return await asyncio.to_thread(self.engine.healthcheck, container)

    async def start_boot(self) -> list[BootResult]:
        return await asyncio.to_thread(self.engine.start_boot)

    async def stop(self, container: str, *, timeout_s: float | None = None) -> None:
        await asyncio.to_thread(self.engine.stop, container, timeout_s=timeout_s)

    async def remove(self, container: str, *, force: bool = False) -> None:
        await asyncio.to_thread(self.engine.remove, container, force=force)

    async def containers(self, *, all: bool = False) -> list[ContainerInfo]:
        return await asyncio.to_thread(self.engine.containers, all=all)

    async def exec_run(self, container: str, command: Sequence[str], **options: Any) -> Result:
        return await asyncio.to_thread(self.engine.exec_run, container, command, **options)

    async def create_pod(self, name: str | None = None, **options: Any) -> Pod:
        return await asyncio.to_thread(self.engine.create_pod, name, **options)

    async def pods(self) -> list[PodInfo]:
        return await asyncio.to_thread(self.engine.pods)

    async def pod(self, reference: str) -> PodInfo:
        return await asyncio.to_thread(self.engine.pod, reference)

    async def start_pod(self, pod: str) -> None:
        await asyncio.to_thread(self.engine.start_pod, pod)

    async def stop_pod(self, pod: str, *, timeout_s: float | None = None) -> None:
        await asyncio.to_thread(self.engine.stop_pod, pod, timeout_s=timeout_s)

    async def remove_pod(self, pod: str, *, force: bool = False) -> None:
        await asyncio.to_thread(self.engine.remove_pod, pod, force=force)

    async def logs(self, container: str, **options: Any) -> AsyncIterator[LogLine]:
        """A container's output line by line; with `follow=True` until it ends."""
        lines = await asyncio.to_thread(self.engine.logs, container, **options)
        while (line := await asyncio.to_thread(_next, lines)) is not None:
            yield line

    async def events(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Event]:
        """What happened; with `follow` what happens from now on, too. No thread is held while nothing does."""
        from tiffin.system import events

        chosen = filters or {}
        events.check_filters(chosen)
        paths = self.engine._parts.paths
        found = events.poll(paths, since_ns, until_ns, chosen, follow=follow)
        for event in found:
            if event is None:
                await asyncio.sleep(events.LOOK_AGAIN_S)
            else:
                yield event

    async def stats(self, container: str) -> Stats:
        return await asyncio.to_thread(self.engine.stats, container)

    async def stats_all(self) -> list[Stats]:
        return await asyncio.to_thread(self.engine.stats_all)


def _next(lines: Iterator[LogLine]) -> LogLine | None:
    return next(lines, None)


def _begin(engine: Engine, config: ContainerConfig) -> tuple[Container, Attachment]:
    """Create and start, in one thread: a task may be cancelled meanwhile, but a thread always comes to its end."""
    container = engine.create(config)
    try:
        attachment = engine.start(container.id, attach=True)
    except BaseException:
        _remove_quietly(engine, container.id)
        raise
    assert attachment is not None
    return container, attachment


async def _end(engine: Engine, beginning: asyncio.Future[tuple[Container, Attachment]], *, remove: bool) -> None:
    """Take back what `_begin` did, or will have done."""
    try:
        container, attachment = await beginning
    except BaseException:
        return  # it has cleaned up itself, and whoever waits has its error
    attachment.acknowledge()  # the removal is ours
    attachment.close()
    if remove:
        await asyncio.to_thread(_remove_quietly, engine, container.id)


def _remove_quietly(engine: Engine, container_id: str) -> None:
    from tiffin.errors import NotFoundError

    try:
        engine.remove(container_id, force=True)
    except NotFoundError:
        pass


async def _process_end(pid: int) -> None:
    import os

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await _readable(fd)
    finally:
        os.close(fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)


async def _converse(attachment: Attachment, input: bytes | None) -> Result:
    from tiffin.runtime import attach as protocol

    async def feed() -> None:
        rest = memoryview(input or b"")
        while rest:
            attachment.send_stdin(bytes(rest[: protocol.MAX_PAYLOAD]))
            rest = rest[protocol.MAX_PAYLOAD :]
            while attachment.pending:
                await _writable(attachment.write_fileno())
                attachment.flush()
        attachment.close_stdin()

    feeder = asyncio.create_task(feed()) if input is not None else None
    output: dict[int, list[bytes]] = {protocol.STDOUT: [], protocol.STDERR: []}
    try:
        while True:
            frame = attachment.try_read_frame()
            if frame is None:
                if attachment.ended:
                    raise ConflictError("the container's monitor was killed")
                await _readable(attachment.fileno())
                continue
            kind, payload = frame
            if kind == protocol.EXIT:
                return Result(
                    exit_code=int(payload),
                    stdout_bytes=b"".join(output[protocol.STDOUT]),
                    stderr_bytes=b"".join(output[protocol.STDERR]),
                )
            if kind in output:
                output[kind].append(payload)
    finally:
        if feeder is not None:
            feeder.cancel()
