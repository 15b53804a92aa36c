"""`tiffin-runtime`: the launcher as an OCI runtime (opencontainers/runtime-spec 1.2), with runc's command line."""
