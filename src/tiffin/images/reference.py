"""Image references: `[domain/]path[:tag][@digest]`, and image IDs.

The grammar is the one of the distribution project (reference.go, there in regular expressions). No registry domain is
ever added: "debian" is "debian", "registry.example/debian" keeps its domain.
"""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.model.record import Record

DEFAULT_TAG = "latest"
HOST = "host"
"""The name of the pseudo image that is the host's own system; no other image may have it."""

MAX_NAME = 255
MAX_TAG = 128

_LOWER_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER_ALNUM | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TAG = _ALNUM | frozenset("_.-")
_HEX = frozenset("0123456789abcdef")
_DIGEST_HEX_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}


class Reference(Record):
    """A parsed reference; `tag` and `digest` are empty when absent.

    `name` is the domain (if any) and the path: "debian", "localhost:5000/team/app"; `digest` is "sha256:…".
    """

    name: str
    tag: str = ""
    digest: str = ""

    @property
    def domain(self) -> str:
        """The registry's host and port, empty when the name has none."""
        return _split_domain(self.name)[0]

    @property
    def key(self) -> str:
        """What the store files it under: "name@digest" when there is a digest, else "name:tag"."""
        if self.digest:
            return f"{self.name}@{self.digest}"
        return f"{self.name}:{self.tag or DEFAULT_TAG}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Parse `text` as written by a user; no tag is added. Raises `UsageError`."""
    rest, at, digest = text.partition("@")
    if at:
        _check_digest(text, digest)
    name, tag = rest, ""
    colon = rest.rfind(":")
    if colon > rest.rfind("/"):
        name, tag = rest[:colon], rest[colon + 1 :]
        if not 0 < len(tag) <= MAX_TAG or not _TAG.issuperset(tag) or tag[0] in ".-":
            raise _invalid(text, f"the tag {tag!r} must be 1 to {MAX_TAG} letters, digits, '_', '.' or '-'")
    _check_name(text, name)
    return Reference(name=name, tag=tag, digest=digest)


def parse_tag(text: str) -> Reference:
    """Parse the name of a tag to be given to an image: a digest is refused, a missing tag is "latest".

    Raises `UsageError`; also for the reserved name "host" and for names that would look like an ID.
    """
    reference = parse_reference(text)
    if reference.digest:
        raise UsageError(f"cannot tag with {text!r}: a digest is not a tag", hint="leave out the part from '@' on")
    check_not_reserved(reference)
    return reference if reference.tag else reference.replace(tag=DEFAULT_TAG)


def check_not_reserved(reference: Reference) -> None:
    """Refuse names that mean something else: `UsageError`."""
    if reference.name == HOST:
        raise UsageError(f"the image name {HOST!r} is reserved for the host's own system", hint="choose another name")
    if reference.name in _DIGEST_HEX_DIGITS:
        raise UsageError(
            f"the image name {reference.name!r} is refused: it would look like a digest", hint="choose another name"
        )


def is_id(text: str) -> bool:
    """Whether `text` is a full image ID: 64 hex digits, with or without "sha256:"."""
    digits = text.removeprefix("sha256:")
    return len(digits) == 64 and _HEX.issuperset(digits)


def id_prefix(text: str) -> str:
    """The hex digits when `text` can be (the beginning of) an image ID, else ""."""
    digits = text.removeprefix("sha256:")
    return digits if 0 < len(digits) <= 64 and _HEX.issuperset(digits) else ""


def is_digest(text: str) -> bool:
    """Whether `text` is a well-formed digest of an algorithm known here (sha256, sha384, sha512)."""
    algorithm, _, digits = text.partition(":")
    return len(digits) == _DIGEST_HEX_DIGITS.get(algorithm, -1) and _HEX.issuperset(digits)


def _check_digest(text: str, digest: str) -> None:
    if not is_digest(digest):
        raise _invalid(text, f"the digest {digest!r} must be like 'sha256:' and 64 lower-case hex digits")


def _check_name(text: str, name: str) -> None:
    if not name:
        raise _invalid(text, "the repository name is empty")
    if len(name) > MAX_NAME:
        raise _invalid(text, f"the repository name must not be more than {MAX_NAME} characters")
    if len(name) == 64 and _HEX.issuperset(name):
        raise _invalid(text, "64 hex digits are an image ID, not a repository name")
    domain, path = _split_domain(name)
    if domain and not _is_domain(domain):
        raise _invalid(text, f"{domain!r} is not a host name with an optional port")
    if not path:
        raise _invalid(text, "the repository name is empty")
    for component in path.split("/"):
        if not _is_path_component(component):
            if _is_path_component(component.lower()):
                raise _invalid(text, f"repository name {path!r} must be lowercase")
            raise _invalid(
                text,
                f"the part {component!r} of the repository name must be lower-case letters and digits,"
                " separated by '.', '_', '__' or '-'",
            )


def _invalid(text: str, reason: str) -> UsageError:
    return UsageError(f"invalid reference format: {reason}: {text!r}")


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return first, rest
    return "", name


def _is_domain(domain: str) -> bool:
    host, port = domain, ""
    if domain.startswith("["):
        address, bracket, port = domain[1:].partition("]")
        if not bracket or not address or not (_HEX | frozenset("ABCDEF:")).issuperset(address):
            return False
        return not port or (port[0] == ":" and _is_port(port[1:]))
    if ":" in domain:
        host, _, port = domain.partition(":")
        if not _is_port(port):
            return False
    return all(
        label and (_ALNUM | {"-"}).issuperset(label) and label[0] != "-" and label[-1] != "-"
        for label in host.split(".")
    )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[:6]) <= 65535


def _is_path_component(component: str) -> bool:
    """alphanumeric runs, separated by one '.', one or two '_', or any number of '-'."""
    separator = ""
    if not component or component[0] not in _LOWER_ALNUM or component[-1] not in _LOWER_ALNUM:
        return False
    for character in component:
        if character in _LOWER_ALNUM:
            if separator and separator not in (".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
        elif character in "._-":
            separator += character
        else:
            return False
    return True
