"""The command line: `blossom`. Importing it is cheap; what a command needs is imported when the command is given."""

from blossom.cli.application import main

__all__ = ["main"]
