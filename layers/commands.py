"""The table of commands. Nothing here imports torch."""

from nunif.cli import Command

LAYERS: list[Command] = []
