"""Licences as package databases name them, as SPDX expressions (SPDX 2.3, annexes A and D).

Databases use Debian's short names, Fedora's older ones, SPDX's own, or free words. What is known for certain becomes
an SPDX name; everything else a LicenseRef-, which the document then lists with the words that it stands for.
"""

from __future__ import annotations

from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NONE = "NOASSERTION"

_NAMES = """
0BSD AFL-2.1 AFL-3.0 Apache-1.0 Apache-1.1 Apache-2.0 APSL-2.0 Artistic-1.0 Artistic-1.0-Perl Artistic-2.0 Beerware
blessing BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause BSD-3-Clause-Clear
BSD-3-Clause-LBNL BSD-4-Clause BSD-4-Clause-UC BSD-Source-Code BSL-1.0 bzip2-1.0.6 CC0-1.0 CC-BY-2.0 CC-BY-2.5
CC-BY-3.0 CC-BY-4.0 CC-BY-SA-2.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CDDL-1.0 CDDL-1.1 CECILL-2.0 CECILL-2.1 CECILL-B CECILL-C
CNRI-Python CPL-1.0 curl ECL-2.0 EFL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 FSFAP FSFUL FSFULLR FSFULLRWD FTL HPND ICU
IJG ImageMagick Info-ZIP IPL-1.0 ISC JSON Latex2e Libpng libpng-2.0 libtiff Linux-OpenIB LPL-1.02 LPPL-1.3c MirOS MIT
MIT-0 MIT-CMU MITNFA MPL-1.0 MPL-1.1 MPL-2.0 MPL-2.0-no-copyleft-exception MS-PL MS-RL MulanPSL-2.0 NCSA Net-SNMP NTP
ODbL-1.0 OFL-1.0 OFL-1.1 OLDAP-2.8 OpenSSL OSL-2.1 OSL-3.0 PHP-3.0 PHP-3.01 PostgreSQL PSF-2.0 Python-2.0
Python-2.0.1 QPL-1.0 Ruby SGI-B-2.0 Sleepycat SMLNJ SunPro TCL TCP-wrappers Unicode-DFS-2015 Unicode-DFS-2016
Unicode-3.0 Unlicense UPL-1.0 Vim W3C WTFPL X11 XFree86-1.1 xpp Xnet Zend-2.0 Zlib zlib-acknowledgement ZPL-2.0 ZPL-2.1
"""
_EXCEPTIONS = """
Autoconf-exception-2.0 Autoconf-exception-3.0 Bison-exception-2.2 Bootloader-exception Classpath-exception-2.0
Font-exception-2.0 GCC-exception-2.0 GCC-exception-3.1 GPL-CC-1.0 Libtool-exception Linux-syscall-note
LLVM-exception OCaml-LGPL-linking-exception OpenJDK-assembly-exception-1.0 u-boot-exception-2.0
Universal-FOSS-exception-1.0 WxWindows-exception-3.1
"""
_BY_NAME = {name.lower(): name for name in _NAMES.split()}
_BY_EXCEPTION = {name.lower(): name for name in _EXCEPTIONS.split()}
_BY_EXCEPTION |= {"bison": "Bison-exception-2.2", "bison-2.2": "Bison-exception-2.2"}
_BY_NAME |= {
    "apache-2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "boost": "BSL-1.0",
    "bsl-1": "BSL-1.0",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "iscl": "ISC",
    "isc license": "ISC",
    "mit license": "MIT",
    "mpl 1.1": "MPL-1.1",
    "mpl 2.0": "MPL-2.0",
    "mplv1.1": "MPL-1.1",
    "mplv2.0": "MPL-2.0",
    "psf-2": "PSF-2.0",
    "the unlicense": "Unlicense",
    "zpl 2.1": "ZPL-2.1",
}
_GNU = {
    "GFDL": ("1.1", "1.2", "1.3"),
    "LGPL": ("2.0", "2.1", "3.0"),
    "AGPL": ("1.0", "3.0"),
    "GPL": ("1.0", "2.0", "3.0"),
}
_MAX_TEXT = 2000
_MAX_DEPTH = 20
_MAX_NAME = 60
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")


class Licenses:
    """The licences of one document; `references` maps each LicenseRef- to the words that it stands for."""

    def __init__(self) -> None:
        self.references: dict[str, str] = {}

    def expression(self, text: str) -> str:
        """The SPDX expression for what a database says; NOASSERTION for nothing."""
        text = " ".join(text.split())
        if not text or text.upper() in (NONE, "NONE", "UNKNOWN"):
            return NONE
        if len(text) > _MAX_TEXT:
            return self._reference(text[:_MAX_TEXT])
        try:
            return _Parser(self, text).whole()
        except ValueError:
            return self._reference(text)

    def name(self, words: str) -> str:
        """One licence, with its exception where there is one."""
        license, _, exception = words.replace(" With ", " with ").replace(" WITH ", " with ").partition(" with ")
        known = _known(license)
        if not exception:
            return known or self._reference(words)
        rider = _BY_EXCEPTION.get(exception.strip().lower().removesuffix(" exception"))
        return f"{known} WITH {rider}" if known and rider else self._reference(words)

    def _reference(self, words: str) -> str:
        plain = words.removeprefix("LicenseRef-")
        name = "-".join(part for part in "".join(c if c in _LETTERS else " " for c in plain).split())
        if len(name) > _MAX_NAME or not name:
            name = f"{name[:_MAX_NAME]}-{sha256(words.encode('utf-8', 'replace')).hexdigest()[:8]}".lstrip("-")
        reference = f"LicenseRef-{name}"
        if self.references.setdefault(reference, words) != words:
            reference += f"-{sha256(words.encode('utf-8', 'replace')).hexdigest()[:8]}"
            self.references[reference] = words
        return reference


def _known(words: str) -> str | None:
    words = words.strip()
    found = _BY_NAME.get(words.lower()) or _gnu(words)
    if found is None and words.endswith("+") and words[:-1].lower() in _BY_NAME:
        found = _BY_NAME[words[:-1].lower()] + "+"
    return found


def _gnu(words: str) -> str | None:
    """ "GPL-2+", "GPLv2+", "GPL-2.0-or-later", "LGPL-2.1", "GFDL-NIV-1.3+": names with versions."""
    text = words.upper().replace(" ", "")
    later = text.endswith(("+", "-OR-LATER"))
    text = text.removesuffix("+").removesuffix("-OR-LATER").removesuffix("-ONLY")
    family = next((name for name in _GNU if text.startswith(name)), None)
    if family is None:
        return None
    rest = text[len(family) :].lstrip("-")
    invariants = ""
    if family == "GFDL":
        for mark, meaning in (("NIV-", "-no-invariants"), ("NO-INVARIANTS-", "-no-invariants")):
            if rest.startswith(mark):
                rest, invariants = rest[len(mark) :], meaning
        for mark in ("-no-invariants", "-invariants"):
            if rest.endswith(mark.upper()):
                rest, invariants = rest[: -len(mark)], mark
    version = rest.removeprefix("V")
    version = version if "." in version else f"{version}.0"
    if version not in _GNU[family]:
        return None
    return f"{family}-{version}{invariants}-{'or-later' if later else 'only'}"


class _Parser:
    """Names joined by "and" and "or", with parentheses; a comma before either makes it bind less (DEP 5)."""

    def __init__(self, licenses: Licenses, text: str) -> None:
        self._licenses = licenses
        for mark in "()":
            text = text.replace(mark, f" {mark} ")
        text = text.replace(", and ", " ,and ").replace(", or ", " ,or ")
        self._tokens = text.split()
        self._at = 0

    def whole(self) -> str:
        found = self._lowest(0)
        if self._at < len(self._tokens):
            raise ValueError
        return found

    def _operator(self) -> str:
        token = self._tokens[self._at].lower() if self._at < len(self._tokens) else ")"
        return {"&": "and", "&&": "and", "|": "or", "||": "or", "and/or": "or"}.get(token, token)

    def _lowest(self, depth: int) -> str:
        found = self._or(depth)
        while self._operator() in (",and", ",or"):
            operator = self._operator()[1:].upper()
            self._at += 1
            found = f"{_group(found)} {operator} {_group(self._or(depth))}"
        return found

    def _or(self, depth: int) -> str:
        return self._joined("or", lambda: self._joined("and", lambda: self._one(depth)))

    def _joined(self, operator: str, part: Callable[[], str]) -> str:
        parts = {part(): None}
        while self._operator() == operator:
            self._at += 1
            parts[part()] = None
        return f" {operator.upper()} ".join(parts)

    def _one(self, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise ValueError
        if self._operator() == "(" and self._at < len(self._tokens):
            self._at += 1
            inside = self._lowest(depth + 1)
            if self._at >= len(self._tokens) or self._tokens[self._at] != ")":
                raise ValueError
            self._at += 1
            return _group(inside)
        words = []
        while self._operator() not in ("(", ")", "and", "or", ",and", ",or"):
            words.append(self._tokens[self._at])
            self._at += 1
        if not words or self._operator() == "(":
            raise ValueError
        return self._licenses.name(" ".join(words))


def _group(expression: str) -> str:
    return f"({expression})" if " AND " in expression or " OR " in expression else expression
