"""Frozen records: the facts that flow through the house. No behaviour beyond validation and formatting."""
