"""The command line: parses, prints, and calls one method of `Engine` per use case.

Every verb is data (`options.Verb`): its parser, its `--help` and its examples come from the same declaration.
Modules are imported when their verb is asked for, so that `tiffin run` pays for nothing else.
"""
