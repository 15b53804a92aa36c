"""The table of verbs: where each one is declared, and why those that Docker has and Tiffin lacks are refused."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.options import Verb

# verb -> "module NAME": the module of this package that declares it, and under which name
VERBS = {
    "__complete": "complete COMPLETE",
    "attach": "attach ATTACH",
    "bootstrap": "archives BOOTSTRAP",
    "cleanup": "system CLEANUP",
    "commit": "changes COMMIT",
    "completion": "completion COMPLETION",
    "cp": "copy CP",
    "create": "run CREATE",
    "diff": "changes DIFF",
    "events": "events EVENTS",
    "exec": "exec EXEC",
    "export": "changes EXPORT",
    "history": "images HISTORY",
    "images": "images IMAGES",
    "import": "archives IMPORT",
    "info": "system INFO",
    "inspect": "inspect INSPECT",
    "kill": "lifecycle KILL",
    "load": "archives LOAD",
    "login": "registry LOGIN",
    "login-shell": "login LOGIN_SHELL",
    "logout": "registry LOGOUT",
    "logs": "logs LOGS",
    "pause": "change PAUSE",
    "port": "top PORT",
    "ps": "ps PS",
    "pull": "transfer PULL",
    "push": "transfer PUSH",
    "rename": "change RENAME",
    "restart": "change RESTART",
    "rm": "lifecycle RM",
    "rmi": "images RMI",
    "run": "run RUN",
    "save": "archives SAVE",
    "search": "registry SEARCH",
    "start": "attach START",
    "stats": "stats STATS",
    "stop": "lifecycle STOP",
    "tag": "images TAG",
    "top": "top TOP",
    "unpause": "change UNPAUSE",
    "update": "change UPDATE",
    "version": "system VERSION",
    "wait": "lifecycle WAIT",
}

TOPICS = (
    ("Containers", ("run", "exec", "ps", "logs", "stop", "rm", "create", "start", "attach", "kill", "wait")),
    ("Running containers", ("restart", "pause", "unpause", "top", "stats", "port", "update", "rename")),
    ("Their files", ("cp", "diff", "commit", "export")),
    ("Images", ("images", "pull", "push", "bootstrap", "import", "load", "save", "tag", "history", "rmi")),
    ("Registries", ("login", "logout", "search")),
    ("Both, and the rest", ("inspect", "events", "info", "login-shell", "completion", "version")),
)

GROUPS = {
    "container": (
        "Manage containers",
        {
            **{name: VERBS[name] for name in "attach create exec kill logs run start stop wait".split()},
            **{
                name: VERBS[name]
                for name in "commit cp diff export pause port rename restart stats top unpause update".split()
            },
            "ls": VERBS["ps"],
            "rm": VERBS["rm"],
            "inspect": "inspect CONTAINER_INSPECT",
            "prune": "prune CONTAINER_PRUNE",
        },
    ),
    "image": (
        "Manage images",
        {
            **{name: VERBS[name] for name in "bootstrap history import load pull push save tag".split()},
            "copy": "image_copy COPY",
            **{name: f"lineage {name.upper()}" for name in "flatten outdated rebase rollback split tree".split()},
            "ls": VERBS["images"],
            "rm": VERBS["rmi"],
            "diff": "contents DIFF",
            "inspect": "inspect IMAGE_INSPECT",
            "mount": "sharing MOUNT",
            "packages": "contents PACKAGES",
            "prune": "prune IMAGE_PRUNE",
            "sbom": "contents SBOM",
            "sharing": "sharing SHARING",
            "unmount": "sharing UNMOUNT",
            "verify": "trust VERIFY",
        },
    ),
    "generate": ("Make files for other programs", {"systemd": "generate SYSTEMD"}),
    "manifest": (
        "Manage manifests and lists of them",
        {name: f"manifest {name.upper()}" for name in "annotate create inspect push rm".split()},
    ),
    "healthcheck": ("Check the health of containers", {"run": "healthcheck RUN"}),
    "volume": (
        "Manage volumes",
        {
            "create": "volumes CREATE",
            "ls": "volumes LS",
            "rm": "volumes RM",
            "inspect": "volumes INSPECT",
            "prune": "prune VOLUME_PRUNE",
        },
    ),
    "pod": (
        "Manage pods",
        {
            **{name: f"pods {name.upper()}" for name in "create exists inspect ps".split()},
            **{
                name: f"pod_verbs {name.upper()}"
                for name in "kill logs pause prune restart rm start stop top unpause".split()
            },
        },
    ),
    "system": (
        "Manage Tiffin itself",
        {
            "check": "system CHECK",
            "df": "system DF",
            "events": VERBS["events"],
            "info": VERBS["info"],
            "prune": "prune SYSTEM_PRUNE",
        },
    ),
}

ALIASES = {
    "container": {"list": "ls", "ps": "ls", "remove": "rm"},
    "image": {"list": "ls", "remove": "rm", "umount": "unmount"},
    "pod": {"list": "ps", "ls": "ps", "remove": "rm"},
    "volume": {"list": "ls", "remove": "rm"},
}

_NO_BUILD = "Tiffin builds no images so far; `tiffin import --change` makes one from a tar archive"
_NO_SWARM = "Tiffin runs on one host and has no swarm"

ABSENT = {
    "trust": "policy.json says which signatures images must have, and Tiffin makes none",
    **dict.fromkeys(("build", "builder", "buildx"), _NO_BUILD),
    **dict.fromkeys(("swarm", "node", "service", "stack", "secret", "config"), _NO_SWARM),
    "checkpoint": "Tiffin does not checkpoint containers so far",
    "compose": "Tiffin reads no compose files so far",
    "context": "Tiffin works on its own host; choose a store with --root",
    "kube": "Tiffin reads no Kubernetes manifests so far",
    "network": "Tiffin has the networks none and host only so far",
    "plugin": "Tiffin has no plugins",
    "volume update": "Tiffin runs on one host and has no cluster volumes",
}


def load(place: str) -> Verb:
    """Import the declaration that a table entry names."""
    module, name = place.split()
    found: Verb = getattr(__import__(f"tiffin.cli.{module}", fromlist=(name,)), name)
    return found


def aliases(verb: Verb) -> list[str]:
    """The other names of a verb, such as "container ls" for `ps`."""
    found = [name for name, place in VERBS.items() if _same(verb, place)]
    for group, (_, places) in GROUPS.items():
        inside = [name for name, place in places.items() if _same(verb, place)]
        inside += [alias for alias, name in ALIASES.get(group, {}).items() if name in inside]
        found += [f"{group} {name}" for name in inside]
    return [name for name in found if name != verb.name]


def _same(verb: Verb, place: str) -> bool:
    # A place that is not loaded yet cannot be where this verb came from.
    module, name = place.split()
    loaded = sys.modules.get(f"tiffin.cli.{module}")
    return loaded is not None and getattr(loaded, name) is verb
