"""Talking to registries (OCI distribution-spec 1.1, Docker registry HTTP API V2): names, settings, credentials, HTTP.

Nothing here knows of the store: bytes come and go as streams.
"""
