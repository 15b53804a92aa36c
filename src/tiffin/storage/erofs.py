"""Writes an image's metadata as an EROFS file system whose files are overlay redirects to objects.

Format: Linux, fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst; redirects: overlayfs.rst, "Data-only
lower layers". Inodes are extended ones (times to the nanosecond), small directories and symlinks lie beside their
inode, regular files are chunk-based and all hole. The same tree gives the same bytes.
"""

from __future__ import annotations

from struct import Struct

from tiffin.errors import InvalidImageError
from tiffin.storage.entry import BLOCK, CHARACTER, DIRECTORY, KIND_MODES, REGULAR, SYMLINK, Entry, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.storage.tree import Node, Tree

BLOCK_BYTES = 4096
BLOCK_BITS = 12
SUPER_OFFSET = 1024
MAGIC = 0xE0F5E1E2
META_BLOCK = 1  # inodes begin after the superblock's block
SLOT_BYTES = 32
INODE_BYTES = 64
FLAT_PLAIN, FLAT_INLINE, CHUNK_BASED = 0, 2, 4
INCOMPAT_CHUNKED_FILE = 4
MAX_CHUNK_BITS = 31  # 2^31 blocks of 4 KiB: 8 TiB
MAX_INLINE_DIRECTORY = 3072
NO_BLOCK = b"\xff\xff\xff\xff"

SUPER = Struct("<IIIBBHQQIIII16s16sI44x")
INODE = Struct("<HHHHQIIIIQII16x")
DIRENT = Struct("<QHBx")
XATTR_HEADER = bytes(12)
XATTR_ENTRY = Struct("<BBH")

# Longest first: a POSIX ACL's name is its prefix (erofs_fs.h, EROFS_XATTR_INDEX_*).
XATTR_PREFIXES = (
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"security.", 6),
    (b"trusted.", 4),
    (b"user.", 1),
)
_OVERLAY = b"trusted.overlay."
_METACOPY = XATTR_ENTRY.pack(16, 4, 0) + b"overlay.metacopy"
_REDIRECT = XATTR_ENTRY.pack(16, 4, 66) + b"overlay.redirect/"


def write_erofs(tree: Tree) -> bytearray:
    """The image's bytes. Raises `InvalidImageError` for attributes that EROFS cannot hold."""
    return _Writer(tree).image()


class _Inode:
    """Where an inode goes: `offset` bytes into the inode area; `blocks` whole blocks of directory lie elsewhere."""

    __slots__ = ("above", "blocks", "inline", "node", "offset", "subdirectories", "xattrs")

    def __init__(self, node: Node, above: _Inode | None) -> None:
        self.node = node
        self.above = self if above is None else above
        self.offset = 0
        self.blocks = 0
        self.subdirectories = 0
        self.inline = False
        self.xattrs = b""


class _Writer:
    """First every inode gets its place, which directories need; then all is written."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._inodes: list[_Inode] = []
        self._by_node: dict[Node, _Inode] = {}

    def image(self) -> bytearray:
        self._collect()
        meta_bytes = self._place()
        data_block = META_BLOCK + (meta_bytes + BLOCK_BYTES - 1) // BLOCK_BYTES
        plain: list[bytes] = []  # what lies in blocks of its own
        image = bytearray(data_block * BLOCK_BYTES)
        next_block = data_block
        base = META_BLOCK * BLOCK_BYTES
        for number, inode in enumerate(self._inodes, 1):
            node = inode.node
            entry = node.entry
            kind = entry.kind
            size = entry.size
            links = node.names
            union = 0
            tail = b""
            layout = FLAT_PLAIN
            if kind == REGULAR:
                if size:
                    layout = CHUNK_BASED
                    bits, chunks = _chunks(size)
                    union = bits
                    tail = NO_BLOCK * chunks
            elif kind == DIRECTORY:
                content = self._directory(inode)
                size = len(content)
                links = 2 + inode.subdirectories
                cut = inode.blocks * BLOCK_BYTES
                tail = content[cut:]
                layout = FLAT_INLINE if tail else FLAT_PLAIN
                if cut:
                    union = next_block
                    plain.append(content[:cut])
                    next_block += inode.blocks
            elif kind == SYMLINK:
                size = len(entry.link)
                if inode.inline:
                    layout = FLAT_INLINE
                    tail = entry.link
                else:
                    union = next_block
                    plain.append(entry.link + bytes(-size % BLOCK_BYTES))
                    next_block += 1
            elif kind in (CHARACTER, BLOCK):
                minor = entry.minor
                union = (minor & 0xFF) | entry.major << 8 | (minor & ~0xFF) << 12  # new_encode_dev
            xattrs = inode.xattrs
            at = base + inode.offset
            mode = 0o777 if kind == SYMLINK else entry.mode  # as Linux shows every symlink, whatever the tar said
            xattr_count = 1 + (len(xattrs) - 12) // 4 if xattrs else 0
            INODE.pack_into(
                image, at, 1 | layout << 1, xattr_count, KIND_MODES[kind] | mode, 0, size, union, number,
                entry.uid, entry.gid, entry.mtime_s & 0xFFFF_FFFF_FFFF_FFFF, entry.mtime_ns, links,
            )  # fmt: skip
            rest = xattrs + tail
            if rest:
                at += INODE_BYTES
                image[at : at + len(rest)] = rest
        for content in plain:
            image += content
        root = self._by_node[self._tree.root].offset // SLOT_BYTES
        SUPER.pack_into(
            image, SUPER_OFFSET, MAGIC, 0, 0, BLOCK_BITS, 0, root, len(self._inodes), 0, 0, next_block, META_BLOCK, 0,
            bytes(16), bytes(16), INCOMPAT_CHUNKED_FILE,
        )  # fmt: skip
        return image

    def _collect(self) -> None:
        """Every inode once, a directory's children together, so that listing and stat read neighbouring blocks."""
        by_node = self._by_node
        root = _Inode(self._tree.root, None)
        by_node[self._tree.root] = root
        inodes = self._inodes
        inodes.append(root)
        stack = [root]
        while stack:
            parent = stack.pop()
            subdirectories = []
            for _, child in sorted((parent.node.children or {}).items()):
                if child in by_node:
                    continue
                inode = by_node[child] = _Inode(child, parent)
                inodes.append(inode)
                if child.children is not None:
                    subdirectories.append(inode)
            parent.subdirectories = len(subdirectories)
            subdirectories.reverse()
            stack += subdirectories

    def _place(self) -> int:
        """Give every inode its offset; returns the bytes that all take."""
        at = 0
        for inode in self._inodes:
            node = inode.node
            entry = node.entry
            kind = entry.kind
            xattrs = inode.xattrs = _xattrs(entry)
            head = INODE_BYTES + len(xattrs)
            tail = 0
            if kind == REGULAR:
                if entry.size:
                    tail = 4 * _chunks(entry.size)[1]
            elif kind == DIRECTORY:
                size = _directory_size(node)
                tail = size % BLOCK_BYTES
                inode.blocks = size // BLOCK_BYTES
                if tail > MAX_INLINE_DIRECTORY or head % BLOCK_BYTES + tail > BLOCK_BYTES:
                    inode.blocks += 1
                    tail = 0
            elif kind == SYMLINK and head + len(entry.link) <= BLOCK_BYTES:
                tail = len(entry.link)
                inode.inline = True
            if tail and kind != REGULAR:
                # The tail must not cross a block; whole inodes that fit in one are kept in one.
                start = at + head if head >= BLOCK_BYTES else at
                end = at + head + tail - 1
                if start // BLOCK_BYTES != end // BLOCK_BYTES:
                    at += -at % BLOCK_BYTES
            inode.offset = at
            at += head + tail
            at += -at % SLOT_BYTES
        return at

    def _directory(self, inode: _Inode) -> bytes:
        """The directory's blocks: per block its entries, then their names; entries sorted by name (erofs.rst)."""
        by_node = self._by_node
        names: list[tuple[bytes, int, int]] = [
            (b".", inode.offset // SLOT_BYTES, DIRECTORY),
            (b"..", inode.above.offset // SLOT_BYTES, DIRECTORY),
        ]
        for name, child in (inode.node.children or {}).items():
            names.append((name, by_node[child].offset // SLOT_BYTES, child.entry.kind))
        names.sort()
        content = bytearray()
        start = used = 0
        for end, (name, _, _) in enumerate(names):
            need = 12 + len(name)
            if used + need > BLOCK_BYTES:
                content += _directory_block(names[start:end])
                content += bytes(-len(content) % BLOCK_BYTES)
                start, used = end, 0
            used += need
        content += _directory_block(names[start:])
        if inode.blocks * BLOCK_BYTES > len(content):
            content += bytes(-len(content) % BLOCK_BYTES)
        return bytes(content)


def _directory_block(names: list[tuple[bytes, int, int]]) -> bytes:
    at = 12 * len(names)
    entries = []
    for name, nid, kind in names:
        entries.append(DIRENT.pack(nid, at, kind))
        at += len(name)
    return b"".join(entries) + b"".join([name for name, _, _ in names])


def _directory_size(node: Node) -> int:
    """Bytes of `_directory`'s content, which depends on the names alone."""
    names = node.children or {}
    used = 27 + 12 * len(names) + sum(map(len, names))
    if used <= BLOCK_BYTES:
        return used
    blocks = used = 0
    for name in sorted([b".", b"..", *names]):
        need = 12 + len(name)
        if used + need > BLOCK_BYTES:
            blocks += 1
            used = 0
        used += need
    return blocks * BLOCK_BYTES + used


def _chunks(size: int) -> tuple[int, int]:
    """(chunk size as a power of two above a block, number of chunks): one chunk wherever that is possible."""
    blocks = (size + BLOCK_BYTES - 1) >> BLOCK_BITS
    bits = min((blocks - 1).bit_length(), MAX_CHUNK_BITS)
    return bits, ((blocks - 1) >> bits) + 1


def _xattrs(entry: Entry) -> bytes:
    """The inode's attribute area with its header; b"" when there are none."""
    if entry.kind == REGULAR and entry.object is not None:
        digest = entry.object
        redirect = _REDIRECT + f"{digest[:2]}/{digest[2:]}\0\0".encode()  # two bytes of padding
        area = XATTR_HEADER + _METACOPY + redirect
        if not entry.xattrs:
            return area
    elif not entry.xattrs:
        return b""
    else:
        area = XATTR_HEADER
    for name, value in sorted(entry.xattrs):
        name = escaped_xattr(name)
        for prefix, index in XATTR_PREFIXES:
            if name == prefix if index in (2, 3) else name.startswith(prefix) and len(name) > len(prefix):
                short = name[len(prefix) :]
                break
        else:
            raise InvalidImageError(
                f"the file {shown(entry.path)} has the extended attribute {shown(name)}, which EROFS cannot keep"
            )
        item = XATTR_ENTRY.pack(len(short), index, len(value)) + short + value
        area += item + bytes(-len(item) % 4)
    if len(area) - 12 > 4 * 0xFFFE:
        raise InvalidImageError(
            f"the file {shown(entry.path)} has {len(area)} bytes of extended attributes; the limit is 262136"
        )
    return area


def escaped_xattr(name: bytes) -> bytes:
    """An image's own overlay attributes must not steer our overlay (overlayfs.rst, "Nested overlayfs mounts")."""
    return b"trusted.overlay.overlay." + name[len(_OVERLAY) :] if name.startswith(_OVERLAY) else name
