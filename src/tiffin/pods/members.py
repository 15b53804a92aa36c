"""What is done to all containers of a pod."""

from __future__ import annotations

from tiffin.containers import end, pause, start
from tiffin.errors import ConflictError, NotFoundError, TiffinError
from tiffin.pods import manage
from tiffin.runtime import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tiffin.containers.logs import LogLine
    from tiffin.containers.processes import ProcessTable
    from tiffin.model.container import Container, ContainerInfo
    from tiffin.model.pod import Pod
    from tiffin.parts import Parts


def start_all(parts: Parts, pod: Pod) -> None:
    """Start what does not run, the oldest first. ConflictError for a pod without containers."""
    members = _some(parts, pod)
    _each(
        [member.container for member in members if not member.state.paused], lambda container: _start(parts, container)
    )


def _start(parts: Parts, container: Container) -> None:
    try:
        start.start(parts, container, attach=False)
    except NotFoundError:
        if not container.config.auto_remove:
            raise


def stop_all(parts: Parts, pod: Pod, timeout_s: float | None) -> None:
    """Stop all at once, so that the slowest decides how long it takes."""
    _together(_running(parts, pod), lambda container: end.stop(parts, container, timeout_s))


def restart_all(parts: Parts, pod: Pod, timeout_s: float | None) -> None:
    """Stop all and start all, so that the namespaces are new ones. ConflictError for a pod without containers."""
    _some(parts, pod)
    stop_all(parts, pod, timeout_s)
    start_all(parts, pod)


def kill_all(parts: Parts, pod: Pod, signal: int | str) -> None:
    """Send a signal to the first process of each that runs."""
    signals.number(signal)
    _each(_running(parts, pod), _unless_ended(lambda container: end.kill(parts, container, signal)))


def pause_all(parts: Parts, pod: Pod) -> None:
    """Have all that run stand still; those that do already, still do."""
    members = [member.container for member in _members(parts, pod) if not member.state.paused]
    _each(members, _unless_ended(lambda container: pause.pause(parts, container)))


def unpause_all(parts: Parts, pod: Pod) -> None:
    """Let all that stand still run on."""
    members = [member.container for member in _members(parts, pod) if member.state.paused]
    _each(members, _unless_ended(lambda container: pause.unpause(parts, container)))


def processes(parts: Parts, pod: Pod, columns: Sequence[str]) -> ProcessTable:
    """The processes of all that run. ConflictError when none does."""
    from tiffin.containers.processes import ProcessTable, table

    tables = [table(parts, container, columns) for container in _running(parts, pod)]
    if not tables:
        raise ConflictError(f"no container of the pod {pod.name!r} is running", hint="`tiffin pod start` starts them")
    return ProcessTable(titles=tables[0].titles, rows=tuple(row for found in tables for row in found.rows))


def logs(
    parts: Parts,
    pod: Pod,
    *,
    only: Sequence[str] = (),
    follow: bool = False,
    since_ns: int | None = None,
    until_ns: int | None = None,
    tail: int | None = None,
) -> Iterator[tuple[Container, LogLine]]:
    """The output of all, by time, with the container that wrote it; with `follow` until all have ended, as it comes.

    `only` names some of the containers. NotFoundError for one that is not in the pod.
    """
    from tiffin.containers import logs

    members = [member.container for member in manage.info(parts, pod).containers]
    for name in only:
        if not any(name == container.name or container.id.startswith(name) for container in members):
            raise NotFoundError(f"container {name} is not in the pod {pod.name!r}")
    chosen = [
        container
        for container in members
        if not only or any(name == container.name or container.id.startswith(name) for name in only)
    ]
    streams = {
        container.id: logs.read(parts, container, follow=follow, since_ns=since_ns, until_ns=until_ns, tail=tail)
        for container in chosen
    }
    if follow:
        return _as_it_comes([(container, streams[container.id]) for container in chosen])
    return _by_time([(container, streams[container.id]) for container in chosen])


def _by_time(streams: list[tuple[Container, Iterator[LogLine]]]) -> Iterator[tuple[Container, LogLine]]:
    from heapq import merge

    def tagged(position: int, lines: Iterator[LogLine]) -> Iterator[tuple[str, int, LogLine]]:
        return ((line.timestamp, position, line) for line in lines)

    found = merge(*(tagged(position, lines) for position, (_, lines) in enumerate(streams)), key=lambda entry: entry[0])
    return ((streams[position][0], line) for _, position, line in found)


def _as_it_comes(streams: list[tuple[Container, Iterator[LogLine]]]) -> Iterator[tuple[Container, LogLine]]:
    from queue import Queue
    from threading import Thread

    queue: Queue[tuple[Container, LogLine] | BaseException | None] = Queue(maxsize=1000)

    def copy(container: Container, lines: Iterator[LogLine]) -> None:
        try:
            for line in lines:
                queue.put((container, line))
        except BaseException as error:
            queue.put(error)
        finally:
            queue.put(None)

    for container, lines in streams:
        Thread(target=copy, args=(container, lines), daemon=True).start()
    ended = 0
    while ended < len(streams):
        entry = queue.get()
        if entry is None:
            ended += 1
        elif isinstance(entry, BaseException):
            raise entry
        else:
            yield entry


def _members(parts: Parts, pod: Pod) -> list[ContainerInfo]:
    return [member for member in manage.info(parts, pod).containers if member.state.status == "running"]


def _running(parts: Parts, pod: Pod) -> list[Container]:
    return [member.container for member in _members(parts, pod)]


def _some(parts: Parts, pod: Pod) -> list[ContainerInfo]:
    members = list(manage.info(parts, pod).containers)
    if not members:
        raise ConflictError(
            f"the pod {pod.name!r} has no containers", hint=f"`tiffin run --pod {pod.name} IMAGE` puts one in"
        )
    return members


def _unless_ended(action: Callable[[Container], object]) -> Callable[[Container], object]:
    def act(container: Container) -> None:
        try:
            action(container)
        except (ConflictError, NotFoundError):
            return  # it has just ended, so there is nothing left to do it to

    return act


def _each(containers: Iterable[Container], action: Callable[[Container], object]) -> None:
    """Do it to every one, whatever happens to the others; then raise what happened."""
    failures: list[TiffinError] = []
    for container in containers:
        try:
            action(container)
        except TiffinError as error:
            failures.append(error)
    _raise(failures)


def _together(containers: Sequence[Container], action: Callable[[Container], object]) -> None:
    from threading import Thread

    failures: list[TiffinError] = []

    def act(container: Container) -> None:
        try:
            action(container)
        except TiffinError as error:
            failures.append(error)

    threads = [Thread(target=act, args=(container,)) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _raise(failures)


def _raise(failures: list[TiffinError]) -> None:
    if not failures:
        return
    first = failures[0]
    if len(failures) > 1:
        first.message = "\n".join(failure.message for failure in failures)
    raise first
