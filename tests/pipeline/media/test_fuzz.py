"""Real files with bytes changed at random: whatever they have become, it is a Media or one clear rejection."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.media import decode
from pipeline.media.probe import probe
from schemas.errors import RowError
from schemas.records import Reason
from tests.hostile.files import GOOD, hostile
from tests.support import media_files as make

pytestmark = pytest.mark.slow

PICTURE = make.picture(0, 64, 48)
SEEDS = [
    make.jpeg(), make.png(), *(make.image_file(PICTURE, form) for form in ("GIF", "WEBP", "TIFF", "BMP", "AVIF")),
    make.mp4(), make.webm(), make.movie("avi", "mpeg4"), make.movie("mpegts", "mpeg2video", 30), make.movie("flv", "flv"),
    make.movie("asf", "wmv2"), make.wav(), make.flac(), make.mp3(), make.m4a(), make.audio_file("AIFF"),
    *(one.data for one in hostile() if one.outcome == GOOD and isinstance(one.data, bytes) and len(one.data) < 20_000),
]  # fmt: skip
REASONS = {Reason.EMPTY_MEDIA, Reason.UNSUPPORTED_MEDIA, Reason.UNDECODABLE, Reason.TOO_LARGE, Reason.TOO_SLOW,
           Reason.DECODER_DIED}  # fmt: skip
DECODE = {"image": decode.decode_image, "video": decode.decode_video, "audio": decode.decode_audio}
CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 15), st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(8)])),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=3000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SEEDS), CHANGES, st.floats(0.5, 1))
def test_changed_bytes_are_media_or_a_rejection(data, changes, share):
    changed = bytearray(data[: int(len(data) * share)] if share < 0.9 else data)
    for at, new in changes:
        at %= len(changed)
        changed[at : at + len(new)] = new
    error = None
    try:
        media = probe(bytes(changed), "x")
        DECODE[media.kind](bytes(changed), name="x")
    except RowError as raised:
        error = raised
    assert error is None or (error.reason in REASONS and error.detail.startswith("x "))
