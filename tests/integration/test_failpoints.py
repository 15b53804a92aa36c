"""Death after every persisted step (`tiffin.failpoints`): the same command again works, and nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import tiffin
from harness.images import busybox_tar
from tiffin.failpoints import POINTS
from tiffin.state.schema import _FIRST

SOURCE = Path(tiffin.__file__).parent
IDLE = "engine.create(ContainerConfig(image='busybox', name='web', command=('sleep', '600')"
FILLED = "Mount(type='volume', source='data', target='/etc')"
UNNAMED = "mounts=(Mount(type='volume', target='/etc'),)"
IMPORT = "engine.import_image(open(archive, 'rb'), 'again', changes=['LABEL a=b'])"


class Scenario(NamedTuple):
    """Python lines: what comes first, what dies at each of `points`, and what is done afterwards (the same again)."""

    before: str
    act: str
    points: str
    after: str = ""


SCENARIOS = {
    "create with a volume": Scenario(
        "",
        f"engine.create(ContainerConfig(image='busybox', command=('true',), mounts=({FILLED},)))",
        "create.recorded create.directory volume.directory volume.ready volume.copied volume.filled volume.settled "
        "create.filled",
        f"c = engine.create(ContainerConfig(image='busybox', command=('true',), mounts=({FILLED},))); "
        "engine.start(c.id); assert engine.wait(c.id) == 0; "
        "assert sorted(os.listdir(engine.volume('data').mountpoint)) == ['group', 'passwd']",
    ),
    "volume create": Scenario("", "engine.volume_create('data')", "volume.recorded"),
    "run": Scenario(
        "",
        "assert engine.run('busybox', ['echo', 'x']).stdout == 'x\\n'",
        "start.starting start.directories start.writable start.files start.cgroup start.owner start.launched",
    ),
    "run an unprepared image": Scenario(
        "shutil.rmtree(engine.root + '/images')",
        "assert engine.run('busybox', ['echo', 'x']).stdout == 'x\\n'",
        "image.built start.image",
    ),
    "stop": Scenario(
        f"engine.start({IDLE})).id)",
        "engine.stop('web', timeout_s=0)",
        "stop.signalled",
    ),
    "pause": Scenario(f"engine.start({IDLE})).id)", "engine.pause('web')", "pause.frozen", "engine.unpause('web')"),
    "unpause": Scenario(
        f"engine.start({IDLE})).id); engine.pause('web')",
        "engine.unpause('web')",
        "pause.thawed",
        "engine.exec_run('web', ['true'])",
    ),
    "rename": Scenario(f"{IDLE}))", "engine.rename('web', 'www')", "change.recorded", "engine.start('www')"),
    "update": Scenario(
        f"engine.start({IDLE})).id)", "engine.update('web', Resources(pids_limit=50))", "change.applied"
    ),
    "remove": Scenario(
        f"{IDLE}, {UNNAMED}))",
        "engine.remove('web', volumes=True)",
        "remove.marked remove.cgroup remove.writable remove.run remove.directory remove.recorded volume.removed "
        "volume.deleted",
        "assert engine.containers(all=True) == [] and engine.volumes() == []",
    ),
    "volume rm": Scenario(
        "engine.volume_create('data')",
        "engine.remove_volume('data')",
        "volume.marked",
        "assert engine.volumes() == []",
    ),
    "import": Scenario(
        "",
        IMPORT,
        "layer.kept image.prepared image.synced image.recorded",  # its objects are here already
        f"{IMPORT}; engine.run('again', ['true'])",
    ),
    "import, and never again": Scenario(
        "engine.remove_image('busybox')",
        IMPORT,
        "object.kept layer.kept image.built image.prepared image.synced",
        "assert engine.images() == [] and not os.listdir(engine.root + '/layers')",
    ),
    "tag": Scenario("", "engine.tag('busybox', 'other')", "image.tagged"),
    "rmi": Scenario(
        IMPORT.replace("again", "other"),
        "engine.remove_image('busybox'); engine.remove_image('other')",
        "image.dropped image.unprepared layer.removed",
        "[engine.remove_image(image.id) for image in engine.images()]; "
        "assert not any(files for _, _, files in os.walk(engine.root + '/objects'))",
    ),
    "prune": Scenario(
        "os.mkdir(engine.root + '/containers/' + 'a' * 64); os.makedirs(engine.root + '/images/' + 'b' * 64); "
        "open(engine.root + '/layers/' + 'c' * 64, 'w').close(); "
        "os.makedirs(engine.root + '/objects/dd', exist_ok=True); "
        "open(engine.root + '/objects/dd/' + 'd' * 62, 'w').close()",
        "engine.prune(engine.prune_plan(images=True))",
        "prune.containers prune.images prune.layers prune.objects",
    ),
}  # fmt: skip
CASES = [(name, point) for name, scenario in SCENARIOS.items() for point in scenario.points.split()]
# They need another store than the other scenarios.
SCHEMA = {"schema.created": None, "schema.migrated": _FIRST}


def python(root: str, code: str, failpoint: str = "") -> int:
    script = (
        "import os, shutil, sys, tiffin; from tiffin.model.container import ContainerConfig, Mount; "
        "from tiffin.model.resources import Resources; root, archive = sys.argv[1:]\n"
        f"with tiffin.Engine(root) as engine:\n    {code}\n"
    )
    environment = {**os.environ, "TIFFIN_FAILPOINT": failpoint}
    command = [sys.executable, "-c", script, root, f"{root}/archive.tar"]
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


def test_every_point_is_listed_and_tested() -> None:
    used = re.findall(r'failpoint\("([^"]+)"\)', "".join(path.read_text() for path in SOURCE.rglob("*.py")))
    assert sorted(used) == sorted(POINTS)
    assert {point for _, point in CASES} | set(SCHEMA) == set(POINTS)


@pytest.fixture
def prepared(engine_root: str) -> str:
    archive = busybox_tar()
    Path(f"{engine_root}/archive.tar").write_bytes(archive)
    with tiffin.Engine(engine_root) as engine, open(f"{engine_root}/archive.tar", "rb") as file:
        engine.import_image(file, "busybox")
    return engine_root


@pytest.mark.parametrize(("name", "point"), CASES, ids=[f"{point}-{name}" for name, point in CASES])
def test_death(prepared: str, name: str, point: str) -> None:
    scenario = SCENARIOS[name]
    if scenario.before:
        assert python(prepared, scenario.before) == 0
    assert python(prepared, scenario.act, point) == -signal.SIGKILL, "the point was not reached"
    assert python(prepared, scenario.after or scenario.act) == 0
    with tiffin.Engine(prepared) as engine:
        if engine.images():
            engine.run(engine.images()[0].id, ["true"])
        for info in engine.containers(all=True):
            engine.remove(info.container.id, force=True, volumes=True)
        for volume in engine.volumes():
            engine.remove_volume(volume.volume.name)
        assert engine.check() == []
    left = [path for part in ("containers", "volumes", "tmp") for path in Path(prepared, part).glob("*")]
    assert left == []


@pytest.mark.parametrize("point", SCHEMA)
def test_death_with_a_new_or_old_database(engine_root: str, point: str) -> None:
    if tables := SCHEMA[point]:
        connection = sqlite3.connect(f"{engine_root}/state.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(tables)
        connection.execute("PRAGMA user_version=1")
        connection.close()
    assert python(engine_root, "engine.images()", point) == -signal.SIGKILL
    assert python(engine_root, "assert engine.images() == [] and engine.volumes() == []") == 0


def test_a_file_left_over_is_not_an_image(prepared: str) -> None:
    """What `prune` alone removes: rests of an earlier Tiffin, whose work had no marker."""
    os.makedirs(f"{prepared}/tmp/image-1-abc")
    with tiffin.Engine(prepared) as engine:
        assert engine.check() == ["1 pieces of unfinished work (harmless; `tiffin system prune` removes them)"]
        engine.prune(engine.prune_plan(images=True))
        assert engine.check() == []
    shutil.rmtree(f"{prepared}/tmp")
