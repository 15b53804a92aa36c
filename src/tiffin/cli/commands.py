"""The table of verbs: where each one is declared, and why those that Docker has and Tiffin lacks are refused."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.options import Verb

# verb -> "module NAME": the module of this package that declares it, and under which name
VERBS = {
    "attach": "attach ATTACH",
    "bootstrap": "archives BOOTSTRAP",
    "cleanup": "system CLEANUP",
    "commit": "changes COMMIT",
    "cp": "copy CP",
    "create": "run CREATE",
    "diff": "changes DIFF",
    "exec": "exec EXEC",
    "export": "changes EXPORT",
    "history": "images HISTORY",
    "images": "images IMAGES",
    "import": "archives IMPORT",
    "info": "system INFO",
    "inspect": "inspect INSPECT",
    "kill": "lifecycle KILL",
    "load": "archives LOAD",
    "logs": "logs LOGS",
    "ps": "ps PS",
    "rm": "lifecycle RM",
    "rmi": "images RMI",
    "run": "run RUN",
    "save": "archives SAVE",
    "start": "attach START",
    "stop": "lifecycle STOP",
    "tag": "images TAG",
    "version": "system VERSION",
    "wait": "lifecycle WAIT",
}

TOPICS = (
    ("Containers", ("run", "exec", "ps", "logs", "stop", "rm", "create", "start", "attach", "kill", "wait")),
    ("Their files", ("cp", "diff", "commit", "export")),
    ("Images", ("images", "bootstrap", "import", "load", "save", "tag", "history", "rmi")),
    ("Both, and the rest", ("inspect", "info", "version")),
)

GROUPS = {
    "container": (
        "Manage containers",
        {
            **{name: VERBS[name] for name in "attach create exec kill logs run start stop wait".split()},
            **{name: VERBS[name] for name in "commit cp diff export".split()},
            "ls": VERBS["ps"],
            "rm": VERBS["rm"],
            "inspect": "inspect CONTAINER_INSPECT",
            "prune": "prune CONTAINER_PRUNE",
        },
    ),
    "image": (
        "Manage images",
        {
            **{name: VERBS[name] for name in "bootstrap history import load save tag".split()},
            "ls": VERBS["images"],
            "rm": VERBS["rmi"],
            "inspect": "inspect IMAGE_INSPECT",
            "prune": "prune IMAGE_PRUNE",
        },
    ),
    "system": (
        "Manage Tiffin itself",
        {
            "check": "system CHECK",
            "df": "system DF",
            "info": VERBS["info"],
            "prune": "prune SYSTEM_PRUNE",
        },
    ),
}

ALIASES = {"container": {"list": "ls", "ps": "ls", "remove": "rm"}, "image": {"list": "ls", "remove": "rm"}}

_NO_REGISTRY = "Tiffin has no registries so far; get images with `tiffin load`, `tiffin import` or `tiffin bootstrap`"
_NO_BUILD = "Tiffin builds no images so far; `tiffin import --change` makes one from a tar archive"
_NO_SWARM = "Tiffin runs on one host and has no swarm"
_NO_UPDATE = "the limits of a container are set when it is created so far"

ABSENT = {
    **dict.fromkeys(("pull", "push", "login", "logout", "search", "manifest", "trust"), _NO_REGISTRY),
    **dict.fromkeys(("build", "builder", "buildx"), _NO_BUILD),
    **dict.fromkeys(("swarm", "node", "service", "stack", "secret", "config"), _NO_SWARM),
    **dict.fromkeys(("pause", "unpause"), "Tiffin does not freeze containers so far; `tiffin kill -s STOP` is near"),
    "checkpoint": "Tiffin does not checkpoint containers so far",
    "compose": "Tiffin reads no compose files so far",
    "context": "Tiffin works on its own host; choose a store with --root",
    "events": "Tiffin records no events so far",
    "kube": "Tiffin reads no Kubernetes manifests so far",
    "network": "Tiffin has the networks none and host only so far",
    "plugin": "Tiffin has no plugins",
    "pod": "Tiffin has no pods so far",
    "port": "Tiffin publishes no ports so far",
    "rename": "a container keeps its name so far",
    "restart": "Tiffin restarts no containers so far; use `tiffin stop` and `tiffin start`",
    "stats": "Tiffin shows no usage figures so far",
    "top": "Tiffin lists no processes so far; use `tiffin exec NAME ps`",
    "update": _NO_UPDATE,
    "volume": "Tiffin has no named volumes so far; bind a host directory with -v",
}


def load(place: str) -> Verb:
    """Import the declaration that a table entry names."""
    module, name = place.split()
    found: Verb = getattr(__import__(f"tiffin.cli.{module}", fromlist=(name,)), name)
    return found
