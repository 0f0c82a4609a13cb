"""Who is to blame when an engine crashes, by what was in flight."""

from flows.runs.crash_log import Crashes

A, B, C, D = (bytes([n]) * 16 for n in range(1, 5))


def test_two_crashes_make_suspects_and_a_crash_alone_a_culprit(tmp_path):
    crashes = Crashes(tmp_path)
    assert not crashes.note({A, B, C})
    assert crashes.suspects == []
    assert not crashes.note({B, C, D})
    assert set(crashes.suspects) == {B, C}
    assert crashes.note({C})
    assert crashes.culprits == [C]
    assert crashes.suspects == [B]


def test_alone_by_chance_is_no_proof(tmp_path):
    crashes = Crashes(tmp_path)
    assert not crashes.note({A})
    assert not crashes.note({A})  # a suspect only now: it was not asked alone on purpose before
    assert crashes.note({A})


def test_a_crash_with_nothing_in_flight_blames_nobody(tmp_path):
    crashes = Crashes(tmp_path)
    assert [crashes.note(set()) for _ in range(3)] == [False, False, False]
    assert crashes.suspects == crashes.culprits == []


def test_it_is_known_when_the_run_goes_on_and_forgotten_when_the_engine_is_to_blame(tmp_path):
    first = Crashes(tmp_path)
    for keys in ({A, B}, {A, B}, {A}):
        first.note(keys)
    again = Crashes(tmp_path)
    assert again.culprits == [A]
    assert again.suspects == [B]
    again.forget()
    assert again.culprits == Crashes(tmp_path).culprits == []
