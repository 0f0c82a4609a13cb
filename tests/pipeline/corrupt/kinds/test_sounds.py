import numpy as np
import pytest

from pipeline.corrupt.kinds.clips import Reverse, Shuffle
from pipeline.corrupt.kinds.sounds import SOUNDS, Mute, Noise, Pitch, Reverb, Stretch
from tests.support.media_files import tone

RATE = 16_000


def done(kind, samples: np.ndarray, seed: int = 0) -> np.ndarray:
    return SOUNDS[type(kind)](samples, RATE, kind, np.random.default_rng(seed))


def loudest(samples: np.ndarray) -> float:
    """The frequency with the most power, in hertz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / RATE)[power.argmax()])


@pytest.mark.parametrize("snr", [-10.0, 0.0, 20.0])
def test_noise_has_the_ratio_that_was_asked_for(snr):
    sound = tone(1, RATE).astype(float)
    noise = done(Noise(snr=snr), sound) - sound
    assert 10 * np.log10((sound**2).mean() / (noise**2).mean()) == pytest.approx(snr, abs=1e-6)
    # white: as much power below a quarter of the rate as above it
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = np.array_split(power, 2)
    assert low.sum() / high.sum() == pytest.approx(1, abs=0.1)


def test_no_noise_has_a_ratio_to_silence():
    assert done(Noise(), np.zeros(100, np.float32)).max() == 0


def test_silence_comes_in_spans_of_one_length():
    sound = np.ones(1600, np.float32)
    for seed in range(10):
        muted = done(Mute(portion=0.3, spans=3), sound, seed)
        assert (muted == 0).sum() == 480
        edges = np.flatnonzero(np.diff(np.concatenate([[1], muted, [1]])))
        assert all(length % 160 == 0 for length in edges[1::2] - edges[::2])  # spans may touch
    assert done(Mute(portion=1), sound).max() == 0
    assert (done(Mute(), sound, 1) != done(Mute(), sound, 2)).any()


@pytest.mark.parametrize("semitones", [6.0, -5.0, 12.0])
def test_pitch_moves_and_length_stays(semitones):
    # a semitone is a twelfth of an octave: 440 * 2 ** (6 / 12) = 622.3
    out = done(Pitch(semitones=semitones), tone(2, RATE))
    assert loudest(out) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)
    assert len(out) == pytest.approx(2 * RATE, rel=0.02)


@pytest.mark.parametrize("tempo", [0.5, 1.5, 4.0])
def test_length_changes_and_pitch_stays(tempo):
    out = done(Stretch(tempo=tempo), tone(3, RATE))
    assert len(out) / RATE == pytest.approx(3 / tempo, rel=0.05)
    assert loudest(out) == pytest.approx(440, rel=0.01)


def test_an_echo_dies_away_by_sixty_decibels_in_its_time():
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    out = done(Reverb(seconds=1.0), click)
    out[0] -= 1
    assert (out**2).sum() == pytest.approx(1, rel=0.01)  # as strong as the sound
    early, late = (10 * np.log10((out[start : start + 1600] ** 2).sum()) for start in (0, 8000))
    assert early - late == pytest.approx(30, abs=1)  # half a second
    assert len(out) == len(click)


def test_pieces_and_backwards_are_those_of_clips():
    sound = np.arange(8, dtype=np.float32)
    assert done(Reverse(), sound).tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert done(Shuffle(pieces=2), sound).tolist() == [4, 5, 6, 7, 0, 1, 2, 3]


def test_a_very_short_sound_is_no_trouble():
    for cls in SOUNDS:
        assert len(done(cls(), np.array([0.5], np.float32))) <= 2
