"""The state database: static facts only. How a container stands now is told by its run directory (see status.py)."""

from __future__ import annotations

VERSION = 4

_FIRST = """
CREATE TABLE layers (
    diff_id     TEXT PRIMARY KEY,           -- "sha256:…" of the uncompressed tar
    size_bytes  INTEGER NOT NULL,           -- of that tar
    created_ns  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE images (
    id           TEXT PRIMARY KEY,          -- "sha256:…" of config
    config       BLOB NOT NULL,             -- OCI image config, byte for byte
    created_ns   INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    os           TEXT NOT NULL,
    variant      TEXT NOT NULL,
    size_bytes   INTEGER NOT NULL,
    added_ns     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE image_layers (
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id  TEXT NOT NULL REFERENCES layers(diff_id),
    PRIMARY KEY (image_id, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_diff ON image_layers(diff_id);
CREATE TABLE tags (
    name     TEXT PRIMARY KEY,              -- "debian:bookworm" or "debian@sha256:…" (a digest reference)
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    moved_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tags_image ON tags(image_id);
CREATE TABLE tag_history (                  -- every move of a tag, for rollback
    name TEXT NOT NULL, image_id TEXT NOT NULL, moved_ns INTEGER NOT NULL
);
CREATE TABLE containers (
    id         TEXT PRIMARY KEY,            -- 64 hex digits
    name       TEXT NOT NULL UNIQUE,
    image_id   TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    removing   INTEGER NOT NULL DEFAULT 0,  -- removal has begun and must be finished
    record     TEXT NOT NULL                -- model.Container as JSON
) WITHOUT ROWID;
CREATE INDEX containers_image ON containers(image_id);
"""

_VOLUMES = """
CREATE TABLE volumes (
    name       TEXT PRIMARY KEY,
    created_ns INTEGER NOT NULL,
    anonymous  INTEGER NOT NULL,
    state      INTEGER NOT NULL,            -- state.volumes: 0 being made, 1 ready, 2 removal has begun
    record     TEXT NOT NULL                -- model.Volume as JSON
) WITHOUT ROWID;
CREATE INDEX volumes_unfinished ON volumes(state) WHERE state != 1;
CREATE TABLE container_volumes (            -- who needs what: such a volume cannot be removed
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    volume       TEXT NOT NULL REFERENCES volumes(name),
    filled       INTEGER NOT NULL DEFAULT 0,  -- what the image has at its place was copied, if it was to be
    PRIMARY KEY (container_id, volume)
) WITHOUT ROWID;
CREATE INDEX container_volumes_volume ON container_volumes(volume);
"""

_ID_RANGES = """
CREATE TABLE id_ranges (                    -- the host's ids that user namespaces of containers have
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    first        INTEGER NOT NULL,
    size         INTEGER NOT NULL
);
CREATE INDEX id_ranges_container ON id_ranges(container_id);
"""

_REGISTRIES = """
CREATE TABLE manifests (                    -- manifests and indexes, byte for byte: what a digest reference names
    digest     TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    body       BLOB NOT NULL,
    added_ns   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE image_manifests (              -- the manifests that an image came with or was pushed as
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    digest   TEXT NOT NULL REFERENCES manifests(digest),
    added_ns INTEGER NOT NULL,
    PRIMARY KEY (image_id, digest)
) WITHOUT ROWID;
CREATE INDEX image_manifests_digest ON image_manifests(digest);
CREATE TABLE blobs (                        -- a layer as registries have it: packed, under a digest of its own
    digest     TEXT PRIMARY KEY,
    diff_id    TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    packed_by  TEXT NOT NULL                -- how to make the same bytes again, "" when nobody here can
) WITHOUT ROWID;
CREATE INDEX blobs_diff ON blobs(diff_id);
CREATE TABLE blob_places (                  -- where a blob was seen last
    digest     TEXT NOT NULL REFERENCES blobs(digest) ON DELETE CASCADE,
    repository TEXT NOT NULL,               -- "host:port/path"
    seen_ns    INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
CREATE TABLE waiting_layers (               -- finished layers of pulls that were cut off: the next pull finds them
    diff_id  TEXT PRIMARY KEY,
    added_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE image_bases (                  -- what an image was made upon
    image_id    TEXT PRIMARY KEY REFERENCES images(id) ON DELETE CASCADE,
    name        TEXT NOT NULL,              -- as it was named then, "" when it was not
    digest      TEXT NOT NULL,              -- of its manifest, "" when that is not known
    base_id     TEXT NOT NULL,              -- its image ID, "" when it was never here
    layer_count INTEGER NOT NULL            -- how many of the image's layers are its, 0 when that is not known
) WITHOUT ROWID;
CREATE INDEX image_bases_base ON image_bases(base_id);
CREATE INDEX tag_history_name ON tag_history(name, moved_ns);
"""

SCHEMA = _FIRST + _VOLUMES + _ID_RANGES + _REGISTRIES
# What leads from each earlier version to the next one.
MIGRATIONS = {1: _VOLUMES, 2: _ID_RANGES, 3: _REGISTRIES}
