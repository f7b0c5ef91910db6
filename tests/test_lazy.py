"""Lazy properties: computed once, whoever asks, and one object never waits for another."""

from __future__ import annotations

import threading
import time

from injectplan.lazy import lazy


class Slow:
    def __init__(self, wait: threading.Event | None = None) -> None:
        self.wait, self.begun, self.computed = wait, threading.Event(), 0

    @lazy
    def value(self) -> int:
        """A value."""
        self.computed += 1
        self.begun.set()
        if self.wait is not None:
            assert self.wait.wait(20)
        return self.computed

    @lazy
    def twice(self) -> int:
        return 2 * self.value


def test_a_value_is_computed_once_and_may_use_another() -> None:
    one = Slow()
    assert (one.twice, one.value, one.twice, one.computed) == (2, 1, 2, 1)
    assert Slow.value.__doc__ == "A value."


def test_an_object_does_not_wait_for_another() -> None:
    release = threading.Event()
    held = Slow(release)
    thread = threading.Thread(target=lambda: held.value)
    thread.start()
    assert held.begun.wait(20)
    assert Slow().value == 1  # would hang with one lock for the class
    release.set()
    thread.join(20)
    assert held.computed == 1


def test_two_threads_that_ask_for_the_same_value_compute_it_once() -> None:
    release = threading.Event()
    held, got = Slow(release), []
    threads = [threading.Thread(target=lambda: got.append(held.value)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert held.begun.wait(20)
    time.sleep(0.05)
    release.set()
    for thread in threads:
        thread.join(20)
    assert got == [1, 1, 1, 1]
    assert held.computed == 1
