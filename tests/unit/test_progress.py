"""Bars on a terminal while several things go on at a time."""

from io import StringIO

from rich.console import Console

from elt.progress import TerminalReporter


def test_bars_of_two_tasks_stand_together_and_are_gone_at_the_end() -> None:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    reporter = TerminalReporter(console)
    with reporter.task("bronze clientes", 10) as first:
        with reporter.task("bronze pedidos", 20) as second:
            first.advance(5)
            second.advance(20)
        reporter.say("half done")
        first.advance(5)
    shown = screen.getvalue()
    assert "bronze clientes" in shown
    assert "bronze pedidos" in shown
    assert "half done" in shown
    assert not console._live_stack  # nothing is drawn any more: the next command has the terminal to itself
