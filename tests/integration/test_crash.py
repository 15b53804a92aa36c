"""SIGKILL at any moment, of commands and of monitors: the next command works, and nothing is lost or left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import tiffin
from tiffin.model.container import ContainerConfig

COMMANDS = {
    "run": "engine.run('busybox', ['sh', '-c', 'echo x; sleep 0.05'])",
    "create and remove": "engine.remove(engine.create(ContainerConfig(image='busybox')).id)",
    "start and stop": (
        "c = engine.create(ContainerConfig(image='busybox', command=('sleep', '9'))); engine.start(c.id); "
        "engine.stop(c.id, timeout_s=0); engine.remove(c.id)"
    ),
    "exec": (
        "c = engine.create(ContainerConfig(image='busybox', command=('sleep', '9'))); engine.start(c.id); "
        "engine.exec_run(c.id, ['true']); engine.remove(c.id, force=True)"
    ),
}


def spawn(root: str, code: str) -> subprocess.Popen[bytes]:
    script = (
        "import sys, tiffin; from tiffin.model.container import ContainerConfig; "
        f"engine = tiffin.Engine({root!r}); print('go', flush=True)\nwhile True: {code}"
    )
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)


def test_killed_commands(engine: tiffin.Engine, busybox: str) -> None:
    dice = random.Random(1)
    for round_number in range(40):
        name, code = list(COMMANDS.items())[round_number % len(COMMANDS)]
        process = spawn(engine.root, code)
        assert process.stdout is not None and process.stdout.readline() == b"go\n"
        time.sleep(dice.uniform(0, 0.08))
        process.kill()
        process.wait()
        process.stdout.close()
        assert engine.run(busybox, ["echo", name]).stdout == f"{name}\n"
    for info in engine.containers(all=True):
        engine.remove(info.container.id, force=True)
    assert engine.check() == []
    assert os.listdir(f"{engine.root}/containers") == []


def test_killed_monitor_takes_the_container_with_it(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    state = engine.container("web").state
    os.kill(state.monitor_pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{state.pid}") and time.monotonic() < deadline:
        time.sleep(0.01)
    after = engine.container("web").state
    assert (after.status, after.exit_code) == ("exited", 137)
    assert after.error == "its monitor was killed, and the kernel ended the container with it"
    engine.start("web")
    assert engine.container("web").state.status == "running"
    engine.remove("web", force=True)


def test_killed_monitor_of_a_temporary_container(engine: tiffin.Engine, busybox: str) -> None:
    container = engine.create(ContainerConfig(image=busybox, command=("sleep", "60"), auto_remove=True))
    engine.start(container.id)
    os.kill(engine.container(container.id).state.monitor_pid, signal.SIGKILL)
    time.sleep(0.1)
    assert engine.containers(all=True) == []
    assert engine.check() == []


def test_detached_and_temporary(engine: tiffin.Engine, busybox: str) -> None:
    container = engine.create(ContainerConfig(image=busybox, command=("true",), auto_remove=True))
    engine.start(container.id)
    deadline = time.monotonic() + 10
    while os.path.exists(f"{engine.root}/containers/{container.id}"):
        assert time.monotonic() < deadline, "its monitor did not remove it"
        time.sleep(0.02)
    assert engine.containers(all=True) == []


def test_many_at_once(engine: tiffin.Engine, busybox: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tiffin", "--root", engine.root, "run", "--rm", busybox, "echo", str(number)],
            stdout=subprocess.PIPE,
        )
        for number in range(24)
    ]
    outputs = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert outputs == sorted(f"{number}\n".encode() for number in range(24))
    assert engine.containers(all=True) == [] and engine.check() == []


def test_output_at_full_speed_with_nobody_reading(engine: tiffin.Engine, busybox: str) -> None:
    container = engine.create(ContainerConfig(image=busybox, command=("sh", "-c", "yes | head -c 100000000; echo end")))
    attachment = engine.start(container.id, attach=True)
    assert attachment is not None
    attachment.close()  # the one who watched is gone, the container must not notice
    assert engine.wait(container.id, timeout_s=60) == 0
    assert [line.data for line in engine.logs(container.id, tail=1)] == [b"end\n"]


def test_another_boot(engine: tiffin.Engine, busybox: str) -> None:
    container = engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    os.kill(engine.container("web").state.monitor_pid, signal.SIGKILL)
    time.sleep(0.1)
    # What a reboot leaves: the persistent file of an earlier boot, and no run directory.
    with open(f"{engine.root}/containers/{container.id}/exit", "w") as file:
        file.write("starting 1 1 11111111-2222-3333-4444-555555555555 5\n")
    os.unlink(f"{engine.root}/run/containers/{container.id}/status")
    state = engine.container("web").state
    assert (state.status, state.exit_code, state.error) == ("exited", 255, "the host went down while it ran")
    engine.start("web")
    engine.remove("web", force=True)
