"""A few things at once: never more than asked for, results in an order that does not depend on time."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from elt.concurrency import each, interleave


class Meter:
    """Counts how many are inside at the same time."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1


@pytest.mark.parametrize("at_once", [1, 3])
def test_results_come_in_the_order_of_the_items(at_once: int) -> None:
    assert list(each(lambda number: number * 2, range(50), at_once)) == [number * 2 for number in range(50)]


def test_as_many_run_at_once_as_asked_for() -> None:
    together = threading.Barrier(3, timeout=10)  # breaks unless three are inside at the same time
    meter = Meter()

    def work(_: int) -> None:
        with meter:
            together.wait()

    list(each(work, range(9), 3))
    assert meter.most == 3


def test_one_at_a_time_stays_in_this_thread() -> None:
    assert set(each(lambda _: threading.current_thread(), range(3), 1)) == {threading.current_thread()}


def test_nothing_new_begins_after_an_error() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ValueError("two")

    with pytest.raises(ValueError, match="two"):
        list(each(work, range(1_000), 2))
    assert len(begun) <= 6


def test_a_slow_one_keeps_no_other_from_beginning() -> None:
    last_has_run = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert last_has_run.wait(timeout=10)
        elif number == 9:
            last_has_run.set()
        return number

    assert list(each(work, range(10), 2)) == list(range(10))


def test_other_threads_know_what_is_said_about_the_work() -> None:
    about: ContextVar[str] = ContextVar("about")
    about.set("a run")

    def reader() -> Iterator[str]:
        yield about.get()

    assert [*each(lambda _: about.get(), range(2), 2), *interleave([reader()], 2)] == ["a run"] * 3


def counted(name: str, length: int) -> Iterator[str]:
    for number in range(length):
        yield f"{name}{number}"


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [(1, ["a0", "a1", "b0", "c0", "c1", "c2"]), (2, ["a0", "b0", "a1", "c0", "c1", "c2"])],
)
def test_readers_take_turns(at_once: int, expected: list[str]) -> None:
    readers = [counted("a", 2), counted("b", 1), counted("c", 3)]
    assert list(interleave(readers, at_once)) == expected


def test_a_readers_turn_goes_on_until_it_is_over() -> None:
    readers = [counted("a", 4), counted("b", 2), counted("c", 3)]
    assert list(interleave(readers, 2, over=lambda item: item[1] in "13")) == "a0 a1 b0 b1 a2 a3 c0 c1 c2".split()


def test_no_readers_give_nothing() -> None:
    assert list(interleave([], 4)) == []


def test_the_error_of_a_reader_is_raised() -> None:
    def broken() -> Iterator[str]:
        yield "x"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(interleave([counted("a", 9), broken()], 2))
