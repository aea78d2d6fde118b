"""Every command and option explains itself, and what prints data prints JSON as well."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from elt.cli import COMMANDS as LISTED
from elt.cli import medallion

WITHOUT_JSON = {
    "medallion quarantine export": "its --format says what it writes",
    "medallion schedule": "it prints no data, it works until it is stopped; LOG_FORMAT=json is for its log",
}


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The command and everything under it, with their whole names."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from commands(found, f"{name} {child}")


COMMANDS = dict(commands(medallion, "medallion"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help(name: str) -> None:
    answer = CliRunner().invoke(medallion, [*name.split()[1:], "--help"], prog_name="medallion")

    assert answer.exit_code == 0
    assert answer.output.startswith(f"Usage: {name}")
    assert (COMMANDS[name].help or "").strip().rstrip(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    options = [option for option in COMMANDS[name].params if isinstance(option, click.Option)]

    assert [option.opts[0] for option in options if not option.help] == []


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)])
def test_a_command_prints_json_if_asked(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}

    assert ("--json" in options) != (name in WITHOUT_JSON)


@pytest.mark.parametrize("name", LISTED)
def test_the_list_of_all_commands_says_of_each_what_it_says_of_itself(name: str) -> None:
    assert f"{LISTED[name][1]}" == COMMANDS[f"medallion {name}"].get_short_help_str(1_000)
