"""The one place that says which Tiffin this is; the builds read it from here."""

__version__ = "0.1.0"
