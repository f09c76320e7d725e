"""Blossom: one pipeline over many data platforms and many sites; raw data stays where it is."""

from blossom._version import __version__

__all__ = ["__version__"]
