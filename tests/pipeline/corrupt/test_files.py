"""Whole files: what decodes again, the same bytes for the same seed, sounds of videos, and what cannot be done."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.corrupt import _files as changed
from pipeline.corrupt._registry import KINDS
from pipeline.corrupt.kinds._kind import seeded_rng
from pipeline.corrupt.kinds.clips import Reverse, Shuffle
from pipeline.corrupt.kinds.images import Black, Crop, Diffusion, Downscale
from pipeline.corrupt.kinds.sounds import Mute, Noise, Reverb, Stretch
from pipeline.media.decode import decode_audio, decode_image, decode_video
from pipeline.media.probe import probe
from schemas.errors import RowError
from tests.support import media_files

MEDIA = ("image", "video", "audio")
OTHERS = ("none", "swap", "adversarial", "region_mask")  # made in other ways
EACH = [(k, m) for k in sorted(KINDS) if k not in OTHERS for m in changed.supported_media(KINDS[k]())]


def corrupted(data: bytes, medium: str, kind, sample: str = "s") -> bytes:
    return changed.corrupted_file(data, medium, kind, seeded_rng(kind, sample), "it")


def heard(data: bytes) -> np.ndarray:
    return decode_audio(data, changed.RATE)


@pytest.fixture(scope="module")
def moving() -> bytes:
    """Two seconds at ten frames a second of a field that moves, with a tone in the first second only. 65 x 49 pixels."""
    field = np.asarray(media_files.picture(1, 130, 49))
    frames = np.stack([field[:, i * 3 : i * 3 + 65] for i in range(20)])
    sound = np.concatenate([media_files.tone(1, changed.RATE), np.zeros(changed.RATE, np.float32)])
    return changed.mp4(frames, 10.0, sound)


def test_there_is_a_kind_for_every_medium():
    assert {medium for _, medium in EACH} == set(MEDIA)


@pytest.mark.parametrize(("kind", "medium"), EACH)
def test_every_kind_makes_a_file_of_its_medium_and_the_same_bytes_again(kind, medium, moving):
    rich = media_files.audio_file("WAV", 2.0)
    data = {"image": media_files.png(3), "video": moving, "audio": corrupted(rich, "audio", Noise(snr=10))}[medium]
    made = corrupted(data, medium, KINDS[kind]())
    found = probe(made, "what was made")
    assert (found.kind, found.mime) == (
        medium,
        {"image": "image/png", "video": "video/mp4", "audio": "audio/wav"}[medium],
    )
    assert made != data
    assert corrupted(data, medium, KINDS[kind]()) == made
    if medium == "video":
        assert (found.rate, found.channels) == (changed.RATE, 1)


def test_another_process_makes_the_same_bytes(moving, tmp_path):
    (tmp_path / "clip").write_bytes(moving)
    script = (
        "import sys; from pathlib import Path; from pipeline.corrupt import _files; from pipeline.corrupt.kinds._kind import seeded_rng;"
        "from pipeline.corrupt.kinds.images import Diffusion; kind = Diffusion(seed=4);"
        "made = _files.corrupted_file(Path(sys.argv[1]).read_bytes(), 'video', kind, seeded_rng(kind, 's'), 'it');"
        "sys.stdout.buffer.write(made)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "clip"], capture_output=True, check=True)
    assert done.stdout == corrupted(moving, "video", Diffusion(seed=4))


def test_seed_and_sample_decide():
    data = media_files.png(3)
    made = {corrupted(data, "image", Diffusion(seed=seed), sample) for seed in (0, 1) for sample in "ab"}
    assert len(made) == 4


def test_a_picture_keeps_its_size_and_loses_its_content():
    data = media_files.png(3)
    assert decode_image(corrupted(data, "image", Crop())).size == (64, 48)
    assert np.asarray(decode_image(corrupted(data, "image", Black()))).max() == 0


def test_a_video_runs_backwards_and_its_sound_is_left(moving):
    frames, fps = decode_video(moving)
    made = corrupted(moving, "video", Reverse())
    back, again = decode_video(made)
    assert (back.shape, again) == ((20, 50, 66, 3), fps)  # its sides are made even
    difference = np.abs(back[::-1].astype(int) - frames.astype(int))
    assert difference.mean() < 6  # compressed twice
    assert np.abs(back.astype(int) - frames.astype(int)).mean() > 2 * difference.mean()
    first, second = np.array_split(heard(made), 2)
    assert np.abs(first).mean() > 20 * np.abs(second).mean()
    first, second = np.array_split(heard(corrupted(moving, "video", Reverse(sound=True))), 2)
    assert np.abs(second).mean() > 20 * np.abs(first).mean()


def test_frames_and_their_sound_are_shuffled_alike():
    # four quarters of half a second, each louder and brighter than the one before
    frames = np.repeat(np.arange(1, 5, dtype=np.uint8) * 50, 5)[:, None, None, None] * np.ones((1, 48, 64, 3), np.uint8)
    sound = media_files.tone(2.0, changed.RATE) * np.repeat([0.25, 0.5, 0.75, 1], changed.RATE // 2)
    for seed in range(3):
        made = corrupted(changed.mp4(frames, 10.0, sound), "video", Shuffle(pieces=4, sound=True, seed=seed))
        bright = [quarter.mean() for quarter in np.array_split(decode_video(made)[0], 4)]
        loud = [np.abs(quarter).mean() for quarter in np.array_split(heard(made)[: 2 * changed.RATE], 4)]
        assert np.argsort(bright).tolist() == np.argsort(loud).tolist() != [0, 1, 2, 3]


def test_a_videos_sound_alone_is_muted_and_its_pictures_are_left(moving):
    made = corrupted(moving, "video", Mute(portion=1))
    assert np.abs(heard(made)).max() < 1e-3
    assert np.abs(decode_video(made)[0].astype(int) - decode_video(moving)[0].astype(int)).mean() < 6
    assert probe(made, "it").seconds == pytest.approx(2.0, abs=0.05)


def test_half_the_frames_are_half_as_long(moving):
    found = probe(corrupted(moving, "video", KINDS["drop"]()), "it")
    assert (found.frames, found.seconds, found.fps) == (10, pytest.approx(1.0), pytest.approx(10.0))


def test_a_long_video_is_thinned_out_and_stays_as_long():
    # 200 frames in 20 seconds: 128 of them, 6.4 a second
    found = probe(corrupted(media_files.mp4(200, 20.0), "video", Black()), "it")
    assert (found.frames, found.seconds) == (128, pytest.approx(20, abs=0.2))
    assert found.rate is None


def test_a_large_frame_is_scaled_down():
    frames = np.zeros((2, 1000, 1600, 3), np.uint8)
    made = corrupted(changed.mp4(frames + 90, 2.0, None), "video", Downscale(side=400))
    assert probe(made, "it").height == 400
    made = corrupted(changed.mp4(frames + 90, 2.0, None), "video", Black())
    assert (probe(made, "it").width, probe(made, "it").height) == (768, 480)


def test_sound_keeps_its_rate_and_is_never_cut_off():
    data = media_files.wav(1.0, rate=22_050, channels=2)
    made = corrupted(data, "audio", Noise(snr=-20))
    found = probe(made, "it")
    assert (found.rate, found.channels, found.seconds) == (22_050, 1, 1.0)
    # the noise is ten times as strong as the tone: far above 1, so all of it is made quieter, and what is loudest is just at 1
    samples = decode_audio(made, 22_050)
    assert np.abs(samples).max() == pytest.approx(1, abs=1e-3)
    tone = media_files.tone(1.0, 22_050).astype(float)
    part = samples @ tone / (tone @ tone)  # how strong the tone still is
    noise = samples - part * tone
    assert 10 * np.log10((part * tone).var() / noise.var()) == pytest.approx(-20, abs=0.5)


def test_half_as_fast_is_twice_as_long():
    made = corrupted(media_files.flac(1.0), "audio", Stretch(tempo=0.5))
    assert probe(made, "it").seconds == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("data", "medium", "kind", "reason"),
    [
        (media_files.mp4(1, 1.0), "video", Shuffle(), "unchanged"),
        (media_files.mp4(), "video", Noise(), "empty_media"),
        (media_files.audio_file("WAV", 0.5)[:44] + bytes(16_000), "audio", Noise(), "unchanged"),
        (media_files.audio_file("WAV", 0.5)[:44] + bytes(16_000), "audio", Reverb(), "unchanged"),
        (corrupted(media_files.png(), "image", Black()), "image", Black(), "unchanged"),
        (media_files.png()[:200], "image", Black(), "undecodable"),
        (media_files.wav(), "image", Black(), "unsupported_media"),
        (media_files.png(), "video", Black(), "unsupported_media"),
    ],
)
def test_what_cannot_be_done_is_a_row_error_that_names_the_file(data, medium, kind, reason):
    with pytest.raises(RowError) as error:
        corrupted(data, medium, kind)
    assert error.value.reason == reason
    assert error.value.detail.startswith("it ")
    assert any(
        mend in error.value.detail for mend in ("remove the row", "remove the row", "use another kind", "replace")
    )
