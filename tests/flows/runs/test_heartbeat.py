"""What a unit says while nothing of it is done."""

import threading

from flows.runs.heartbeat import Heartbeat

EVERY = 0.01


def test_it_says_what_is_waited_for_until_something_is_done():
    said, twice = [], threading.Event()
    waits = iter(["loading the model policy", "", "12 requests in flight"])

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            beat.stop()
            twice.set()

    with Heartbeat(lambda: next(waits), say, EVERY) as beat:
        assert twice.wait(10)
    assert said == [
        "(loading the model policy; nothing is done after 0 s)",
        "(12 requests in flight; nothing is done after 0 s)",
    ]


def test_it_ends_with_the_work_and_says_nothing_about_short_work():
    said = []
    with Heartbeat(lambda: "loading", said.append, every=3600):
        pass
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    assert not said
