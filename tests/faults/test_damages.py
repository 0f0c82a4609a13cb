"""The list of commands that are tried is the command line's own."""

import typer.main

from flows import cli
from tests.faults.damages import COMMANDS, DAMAGES


def commands(group, before: str = ""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


def test_every_command_of_the_command_line_is_tried_with_every_damage():
    assert sorted(COMMANDS) == sorted(commands(typer.main.get_command(cli.app)))


def test_damages_have_names_of_their_own():
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES)
