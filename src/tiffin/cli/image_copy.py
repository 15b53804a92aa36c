"""`image copy`."""

from __future__ import annotations

from tiffin.cli.board import presenter
from tiffin.cli.options import Option, Verb, absent
from tiffin.errors import os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

_TLS = "registries.toml says which registries are insecure, and which authorities are trusted"
_CREDENTIALS = "`tiffin login` keeps what a registry wants to know"
_SIGNING = "Tiffin makes no signatures; policy.json says which ones images must have"


def _copy(context: Context, parsed: Parsed) -> int:
    from contextlib import nullcontext

    source, destination = parsed.arguments
    format = parsed.text("format")
    if format not in (None, "oci", "v2s2"):
        raise parsed.invalid("format", format or "", "it is oci or v2s2")
    quiet = parsed.flag("quiet")
    shown = None if quiet else presenter()
    with shown if shown is not None else nullcontext():
        copied = context.engine.copy_image(
            source,
            destination,
            all=parsed.flag("all"),
            platform=parsed.text("platform"),
            format=format,
            preserve_digests=parsed.flag("preserve-digests"),
            progress=shown.show if shown is not None else None,
        )
    file = parsed.text("digestfile")
    if file:
        try:
            with open(file, "w") as out:
                out.write(copied.digest)
        except OSError as error:
            raise os_error(error, "cannot write the digest") from error
    print(copied.digest if quiet else f"Digest: {copied.digest}")
    return 0


COPY = Verb(
    name="image copy",
    summary="Copy an image between registries, layouts and archives",
    run=_copy,
    arguments="SOURCE DESTINATION",
    minimum=2,
    maximum=2,
    options=(
        Option(name="all", short="a", kind="bool", help="Every platform of the image, its attestations too"),
        Option(name="digestfile", word="FILE", help="Write the digest of what was copied to a file"),
        Option(name="format", short="f", word="oci|v2s2", help="Convert manifests", default="as they are"),
        Option(name="platform", word="os/arch[/variant]", help="The platform to copy", default="the host's"),
        Option(name="preserve-digests", kind="bool", help="Fail rather than change a manifest"),
        Option(name="quiet", short="q", kind="bool", help="Print the digest only"),
    ),
    absent={
        **absent(_TLS, "src-tls-verify", "dest-tls-verify", "src-cert-dir", "dest-cert-dir"),
        **absent(_CREDENTIALS, "src-creds", "dest-creds", "authfile", "src-authfile", "dest-authfile"),
        **absent(_SIGNING, "sign-by", "sign-by-sigstore-private-key", "remove-signatures"),
        **absent("use --all, or --platform", "multi-arch"),
    },
    description="SOURCE and DESTINATION are docker://HOST/NAME[:TAG|@DIGEST], oci:DIRECTORY[:TAG], "
    "oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG] or dir:DIRECTORY. Nothing is unpacked or stored: layers go "
    "as they are, verified on the way, and not at all where the destination has them. A docker-archive has no "
    "manifests and holds plain layers, so what comes out of one has another digest.",
    examples=(
        ("tiffin image copy docker://registry.example/app:1 docker://localhost:5000/app:1", "between registries"),
        ("tiffin image copy --all docker://registry.example/app:1 oci:layout:1", "every platform, into a directory"),
        ("tiffin image copy oci-archive:app.tar docker://localhost:5000/app:1", "from a file to a registry"),
        (
            "tiffin image copy docker://localhost:5000/app:1 docker-archive:app.tar:app:1",
            "an archive for `docker load`",
        ),
    ),
)
