"""Facts are those of what is shown: the same as by decoding a file whole, here with the library alone."""

import io
from itertools import pairwise
from statistics import median

import av
import numpy as np
import pytest
import soundfile

from pipeline.media import decode
from pipeline.media.probe import probe
from tests.support import odd_media as odd

COVER = av.stream.Disposition.attached_pic

SHOWN = {  # (frames, seconds) by hand, where a container says something else or shows only a part
    "MP4, H.264": (20, 2.0),  # 20 frames at 10 per second
    # 40 frames, decoded with two frames of delay (2 x 1024 units): from unit 9516 on are the frames from 8 on, of which frame 7 shows the rest
    "MP4, trimmed at its start": (32, 3.2),
    "MP4, trimmed at its end": (23, 2.3),  # 2.3 seconds at 10 per second
    "MP4, trimmed at both": (17, 1.7),
    "MP4, HEVC, trimmed": (15, 1.5),
    "MP4 that starts late": (20, 2.0),
    "MP4, B-frames with pauses": (12, 6.3),  # the last begins at 6.2 and lasts as long as most others, a tenth
    "MP4, B-frames with a pause at the end": (10, 5.2),
    "Matroska, B-frames with pauses": (12, 6.3),
    "Matroska, open GOP, cut": (
        24,
        2.4,
    ),  # groups of 8, none of which needs no other: the decoder begins with the third
    "WebM, VP8 with hidden frames": (20, 2.0),  # 24 packets, 4 of them hidden
    "WebM of a browser": (8, 0.489),  # the last begins at .455; distances 33, 33, 67, 33, 34, 220, 35 ms: median 34
}


@pytest.mark.parametrize("name", odd.FILMS)
def test_a_film_is_what_decoding_all_of_it_shows(name):
    data = odd.FILMS[name]()
    with av.open(io.BytesIO(data)) as file:
        track = next(stream for stream in file.streams.video if not stream.disposition & COVER)
        frames = [(frame.time, frame.width, frame.height) for frame in file.decode(track)]
    times = [time - frames[0][0] for time, _, _ in frames]
    usual = median([later - earlier for earlier, later in pairwise(times)] or [0.1])
    found = probe(data, "x")
    assert (found.kind, found.frames) == ("video", len(frames))
    assert found.seconds == pytest.approx(times[-1] + usual, abs=0.002)
    assert found.fps == pytest.approx(found.frames / found.seconds, abs=1e-5)
    assert {found.width, found.height} == set(frames[0][1:])
    if name in SHOWN:
        assert (found.frames, found.seconds) == SHOWN[name]
    clip = decode.decode_clip(data, max_frames=1000)
    if len(clip.times) == len(times):
        assert clip.times == pytest.approx(times, abs=1e-5)
    else:  # at even distances in time: between pauses not every frame is drawn
        assert "pause" in name or "browser" in name
    some = decode.decode_clip(data, max_frames=3)
    assert [round(time, 4) for time in times if any(abs(time - at) < 1e-4 for at in some.times)] == pytest.approx(
        some.times, abs=1e-4
    )


def test_a_mirrored_film_is_shown_as_its_matrix_says():
    # the left half is darker; pixel (x, y) is shown at (a x + c y, b x + d y): where is the dark half?
    dark = {
        (1, 0, 0, -1): "left", (-1, 0, 0, 1): "right", (-1, 0, 0, -1): "right",
        (0, 1, -1, 0): "top", (0, -1, 1, 0): "bottom", (0, 1, 1, 0): "top", (0, -1, -1, 0): "bottom",
    }  # fmt: skip
    for matrix, side in dark.items():
        last = decode.decode_clip(odd.turned(*matrix)).frames[-1].mean(axis=2)
        height, width = last.shape
        halves = {
            "left": last[:, : width // 2],
            "right": last[:, width // 2 :],
            "top": last[: height // 2],
            "bottom": last[height // 2 :],
        }
        assert min(halves, key=lambda half: halves[half].mean()) == side, matrix


def test_a_transposed_film_differs_from_a_turned_one():
    corner = odd.film("mp4", corner=True)
    at = {
        matrix: odd.turned(*matrix, data=corner)
        for matrix in [(0, 1, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, -1, 0)]
    }
    # the bright corner at the top left (0, 0) goes to (c y, b x) = the side where these are least: right top, left top, left bottom, right bottom
    where = {(0, 1, -1, 0): (0, -1), (0, 1, 1, 0): (0, 0), (0, -1, 1, 0): (-1, 0), (0, -1, -1, 0): (-1, -1)}
    for matrix, data in at.items():
        frame = decode.decode_clip(data).frames[0].mean(axis=2)
        corners = {(y, x): frame[y, x] for y in (0, -1) for x in (0, -1)}
        assert max(corners, key=corners.get) == where[matrix]


@pytest.mark.parametrize(
    ("form", "codec", "sound"), [("mp4", "libx264", "aac"), ("webm", "libvpx", "libopus"), ("mpegts", "libx264", "aac")]
)
def test_sound_that_begins_after_the_picture_is_heard_then(form, codec, sound):
    # silence for .7 s; the coder's own start, one AAC frame, is marked as such in an MP4 and heard in a transport stream
    late = decode.decode_audio(odd.film(form, codec, sound=sound, sound_at=0.7), odd.RATE)
    assert np.flatnonzero(np.abs(late) > 0.1)[0] / odd.RATE == pytest.approx(0.7, abs=1.5 * 1024 / odd.RATE)
    at_once = decode.decode_audio(odd.film(form, codec, sound=sound), odd.RATE)
    assert np.flatnonzero(np.abs(at_once) > 0.1)[0] <= 1.5 * 1024


@pytest.mark.parametrize("form", ["mp4", "matroska", "mpegts"])
def test_sound_that_begins_before_the_picture_is_heard_from_the_picture_on(form):
    # a tone from 0 to 2 s, the picture from 1 to 2 s: a second of the tone, and at most the 50 ms that do not matter and what coders add
    data = odd.film(form, times=range(10, 20), sound="aac")
    assert probe(data, "x").seconds == 1
    heard = decode.decode_audio(data, odd.RATE)
    assert len(heard) / odd.RATE == pytest.approx(1, abs=0.1)
    assert np.abs(heard[: odd.RATE // 10]).max() > 0.1


@pytest.mark.parametrize("form", ["mp3", "adts"])
def test_files_put_one_behind_the_other_are_heard_whole_by_everyone(form):
    one = odd.spoken(form, {"mp3": "libmp3lame", "adts": "aac"}[form])
    for between in (b"", odd.id3(), b"TAG" + bytes(125)):
        both = one + between + one
        found = probe(both, "x")
        # twice the tone of a second; at most what a coder adds: 3 frames of AAC (64 ms), 1105 samples of delay of MP3 and a frame (105 ms)
        assert 2 <= found.seconds < 2.2, between[:3]
        heard = decode.decode_audio(both, odd.RATE)
        assert np.abs(heard[-odd.RATE // 4 : -odd.RATE // 8]).max() > 0.1
        wave, rate = soundfile.read(io.BytesIO(decode.portable(both, "input_audio", "x")))
        assert len(wave) / rate == pytest.approx(found.seconds, abs=1e-4)
        assert decode.portable(both, "audio", "x") or (form, between) == ("adts", b"") or between[:3] == b"TAG"


def test_a_damaged_frame_within_a_sound_is_still_refused():
    data = bytearray(odd.spoken("adts", "aac"))
    sixth = [at for at in range(len(data)) if data[at : at + 2] == data[:2]][5]
    data[sixth + 7 : sixth + 40] = b"\xff" * 33
    with pytest.raises(decode.RowError, match="x is truncated or corrupted"):
        probe(bytes(data), "x")


def test_other_bytes_are_no_joined_stream():
    rng = np.random.default_rng(0)
    for data in (b"G" * 3, b" \xff\xfb\x90\x40" * 3000, b"\0" + b"\xff" * 9000, rng.bytes(100_000), b"text " * 5000):
        with pytest.raises(decode.RowError, match="is not an image, video or audio file of a known format"):
            probe(data, "x")


HEARD = {  # samples by hand: of a second at 16 kHz where nothing else is said
    **{name: 16_000 for name in odd.SOUNDS if name.startswith(("WAV", "AU", "CAF", "AIFF", "RF64", "W64", "FLAC", "Ogg Vorbis", "Ogg Opus", "Ogg FLAC"))},
    "WAV, IMA ADPCM": 16_272,  # 32 blocks of 509 samples less 16: libsndfile fills the last block
    "WAV, MP3": 17_280,  # 30 frames of 576 samples: a WAV does not say which are padding
    "WAV, GSM": 8_000, "AU, mu-law": 8_000, "Ogg Speex": 8_000,  # 8 kHz
    "chained Ogg Speex": 12_000, "chained Ogg FLAC": 32_000,
    "chained Ogg Vorbis": 32_000, "chained Ogg Opus": 32_000,
    "MP3": 16_000, "MP3 behind two ID3 tags": 16_000, "MP3 without a header": 17_280,
    "M4A, ALAC": 16_000, "Matroska, FLAC": 16_000,
    "WebM, Opus": 48_000, "WebM, Opus, of a browser": 48_000,
}  # fmt: skip


@pytest.mark.parametrize("name", odd.SOUNDS)
def test_a_sound_is_what_decoding_all_of_it_gives(name):
    data = odd.SOUNDS[name]()
    found = probe(data, "x")
    assert found.kind == "audio"
    samples = HEARD.get(name)
    if samples is None:
        with av.open(io.BytesIO(data)) as file:
            samples = sum(frame.samples for frame in file.decode(file.streams.audio[0]))
    assert round(found.seconds * found.rate) == samples
    assert len(decode.decode_audio(data, found.rate)) == samples
    wave, rate = soundfile.read(io.BytesIO(decode.portable(data, "input_audio", "x") or data))
    assert (len(wave) / rate) == pytest.approx(found.seconds, abs=1e-4)


def test_frames_that_a_decoder_drops_behind_missing_packets_are_not_counted():
    data = odd.film("matroska", times=range(40), keep=lambda i: i not in (10, 11, 12))
    with av.open(io.BytesIO(data)) as file:
        shown = sum(1 for _ in file.decode(video=0))
    assert shown < 37  # packets
    assert probe(data, "x").frames == shown


def test_the_sweep_is_wide():
    assert len(odd.FILMS) + len(odd.SOUNDS) >= 90


def test_transparent_grey_of_16_bits_lies_on_white():
    for transparent, above, below in [(0x2040, 255, 0x80), (0x8040, 0x20, 255), (3, 0x20, 0x80)]:
        grey = np.asarray(decode.decode_image(odd.deep_grey(transparent)))[:, 0, 0]
        assert (grey[0], grey[7]) == (above, below)


def test_an_unknown_codec_of_the_only_track_is_named():
    data = odd.SOUNDS["M4A, AAC"]().replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz")
    with pytest.raises(decode.RowError, match="x has an unknown audio codec; convert it or remove the row"):
        probe(data, "x")
