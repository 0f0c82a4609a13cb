"""Small media files as tools, cameras, browsers and broadcasters write them: trimmed, joined midway, of unknown length, with hidden frames
or foreign tracks. Each is made on the spot."""

import functools
import io
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from tests.support.media_files import audio_file, image_file, tone, wav

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT, RATE = 64, 48, 16_000
CD = {"mp2", "wmav2", "ac3"}  # codecs that do not know 16 kHz
OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:threads=1:scenecut=0"}
HEVC = "log-level=none:pools=none:frame-threads=1:bframes=3:keyint=8:min-keyint=8"
PAUSES = [0, 1, 2, 3, 4, 5, 30, 31, 32, 60, 61, 62]  # tenths of a second


def film(
    form: str, codec: str = "libx264", times: Iterable[int] = range(20), rate: int = 10, sound: str = "", sound_at: float = 0,
    options: dict | None = None, container: dict | None = None, pix_fmt: str = "yuv420p", keep: Callable[[int], bool] = lambda i: True,
    fonts: int = 0, corner: bool = False,
) -> bytes:  # fmt: skip
    """A video whose frame i is shown at times[i] / rate seconds, brighter with i, its left half darker. `sound`: codec of a tone of 2 s
    that begins `sound_at` seconds late. `keep`: which packets are written, by number. `fonts`: files attached. `corner`: its top left is
    white."""
    file, times = io.BytesIO(), list(times)
    with av.open(file, "w", format=form, options={"fflags": "+bitexact", **(container or {})}) as out:
        video = out.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, pix_fmt
        video.codec_context.thread_count = 1
        video.codec_context.time_base = Fraction(1, rate)
        track = out.add_stream(sound, rate=44_100 if sound in CD else RATE, layout="mono") if sound else None
        if track:
            track.bit_rate = 64_000
        for i in range(fonts):
            out.add_attachment(f"font-{i}.ttf", "font/ttf", b"font")
        packets = []
        for i, at in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, len(times), corner), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, rate)
            packets += video.encode(frame)
        packets += video.encode()
        for i, packet in enumerate(packets):
            if keep(i):
                out.mux(packet)
        if track:
            out.mux(list(_spoken(track, 2, sound_at)))
    return file.getvalue()


def picture(i: int, count: int, corner: bool) -> np.ndarray:
    grey = np.full((HEIGHT, WIDTH, 3), 20 + 200 * i // count, np.uint8)
    grey[:, : WIDTH // 2] //= 2
    if corner:
        grey[:16, :16] = 255
    return grey


def _spoken(track, seconds: float, at: float = 0):
    rate = track.rate
    wave = np.tile(tone(seconds, rate), 1)[None]
    size = track.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=track.codec_context.format, layout="mono", rate=rate)
    for start in range(0, wave.shape[1], size):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave[:, start : start + size]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, start + round(at * rate), Fraction(1, rate)
        for part in resampler.resample(frame):
            yield from track.encode(part)
    yield from track.encode()


def spoken(form: str, codec: str, seconds: float = 1, options: dict | None = None, rate: int = RATE) -> bytes:
    """A tone in a container."""
    file = io.BytesIO()
    with av.open(file, "w", format=form, options={"fflags": "+bitexact", **(options or {})}) as out:
        track = out.add_stream(
            codec,
            rate=44_100 if codec in CD else rate,
            layout="mono",
            options={"strict": "-2"} if codec == "opus" else {},
        )
        track.bit_rate = 64_000
        out.mux([*_spoken(track, seconds)])
    return file.getvalue()


def edited(data: bytes, start: int | None = None, length: int | None = None) -> bytes:
    """An MP4 whose first edit list begins at `start` (units of the track) and lasts `length` milliseconds."""
    at = data.index(b"elst") + 12  # behind the type, version and count
    old = struct.unpack(">Ii", data[at : at + 8])
    new = struct.pack(">Ii", old[0] if length is None else length, old[1] if start is None else start)
    return data[:at] + new + data[at + 8 :]


def turned(a: int, b: int, c: int, d: int, data: bytes = b"") -> bytes:
    """An MP4 whose matrix shows the pixel (x, y) at (a x + c y, b x + d y)."""
    data = data or film("mp4")
    at = data.index(b"tkhd") + 44  # behind the type: version, times, ids, layer and volume
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    return data[:at] + b"".join((number % (1 << 32)).to_bytes(4, "big") for number in matrix) + data[at + 36 :]


def hidden_vp8() -> bytes:
    """A WebM as libvpx writes it in two passes: behind some frames comes one that is not shown and only serves later ones."""
    return remuxed(film("webm", "libvpx", options={"deadline": "realtime"}), "webm", hidden=5)


def remuxed(data: bytes, form: str, hidden: int = 0, options: dict | None = None) -> bytes:
    """The packets of the first track in another container; each `hidden`th of VP8 once more, not shown."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=form, options=options or {}) as out:
        track = source.streams[0]
        copy = out.add_stream_from_template(track)
        for i, packet in enumerate(source.demux(track)):
            if not packet.size:
                continue
            packet.stream = copy
            again = None
            if hidden and i % hidden == hidden - 1:
                again = av.Packet(bytes([bytes(packet)[0] & ~16]) + bytes(packet)[1:])
                again.pts, again.dts, again.time_base, again.stream = (
                    packet.pts + 1,
                    packet.dts + 1,
                    packet.time_base,
                    copy,
                )
            out.mux(packet)
            if again:
                out.mux(again)
    return file.getvalue()


def sized_wav(riff: int, size: int, samples: int = RATE) -> bytes:
    """A WAV whose header gives these sizes."""
    data = bytearray(audio_file("WAV", samples / RATE))
    struct.pack_into("<I", data, 4, riff)
    struct.pack_into("<I", data, data.index(b"data") + 4, size)
    return bytes(data)


def id3(size: int = 300) -> bytes:
    return b"ID3\4\0\0" + bytes(size >> 7 * i & 127 for i in (3, 2, 1, 0)) + bytes(size)


def sound(
    form: str, subtype: str | None = None, rate: int = RATE, channels: int = 1, endian: str | None = None
) -> bytes:
    """A tone of one second as libsndfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, np.tile(tone(1, rate)[:, None], channels), rate, format=form, subtype=subtype, endian=endian)
    return file.getvalue()


def speex(frames: int = 50) -> bytes:
    """An Ogg Speex of silence, 20 ms a frame, at 8 kHz: the frame of submode 0 is five bits of zero, then the terminator 15."""
    head = b"Speex   " + b"1.2".ljust(20, b"\0") + struct.pack("<13i", 1, 80, 8000, 0, 4, 1, -1, 160, 0, 1, 0, 0, 0)
    bodies = [head, struct.pack("<II", 0, 0), *[bytes([0b00000_011, 0b11_000000])] * frames]
    places = [0, 0, *(160 * (i + 1) for i in range(frames))]
    kinds = [2, 0, *[0] * (frames - 1), 4]
    return b"".join(map(_page, bodies, places, kinds, range(len(bodies))))


def _page(body: bytes, granule: int, kind: int, number: int) -> bytes:
    head = b"OggS\0" + struct.pack("<BqIIIBB", kind, granule, 7, number, 0, 1, len(body))
    crc = 0
    for byte in head + body:  # polynomial 0x04c11db7, not reflected (RFC 3533)
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFFFFFF
    return head[:22] + struct.pack("<I", crc) + head[26:] + body


def without_length(flac: bytes) -> bytes:
    """The FLAC with 0 samples in its header, which stands for unknown (RFC 9639, 8.2): the lower half of byte 21, and four bytes more."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def with_correction(stream: bytes) -> bytes:
    """A transport stream with 16 bytes of error correction behind each packet, as from a satellite receiver."""
    return b"".join(stream[at : at + 188] + bytes(16) for at in range(0, len(stream), 188))


def deep_grey(transparent: int) -> bytes:
    """A PNG of 16-bit grey, dark above, mid-grey below; the value `transparent` is transparent."""
    pixels = np.full((8, 16), 0x2040, np.uint16)
    pixels[4:] = 0x8040
    return image_file(Image.fromarray(pixels), "PNG", transparency=transparent)


def av1() -> bytes:
    """An AV1 video, encoded by a process of its own: run as root, SVT-AV1 makes the process that uses it a real-time one (SCHED_FIFO 99), and
    what that starts later never lets others run."""
    code = "import sys; from tests.support import odd_media as odd; sys.stdout.buffer.write(odd.film('mp4', 'libsvtav1', options={'preset': '12'}))"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout


FILMS: dict[str, Callable[[], bytes]] = {
    "MP4, H.264": lambda: film("mp4"),
    "MP4, H.264 without B-frames": lambda: film("mp4", options={"bf": "0"}),
    "MP4, H.264 and AAC": lambda: film("mp4", sound="aac"),
    "MP4 in fragments": lambda: film("mp4", container={"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "MP4, HEVC": lambda: film("mp4", "libx265", options={"x265-params": HEVC}),
    "MP4, AV1": lambda: av1(),
    "MP4, VP9": lambda: film("mp4", "libvpx-vp9"),
    "MP4, MPEG-4": lambda: film("mp4", "mpeg4", options={"bf": "2"}),
    "MP4, interlaced": lambda: film("mp4", options={"x264-params": "tff=1"}),
    "MP4, trimmed at its start": lambda: edited(film("mp4", times=range(40)), start=1024 * 9 + 300),
    "MP4, trimmed at its start, no B-frames": lambda: edited(film("mp4", times=range(40), container={"use_editlist": "1"}), start=1024 * 7),
    "MP4, trimmed at its end": lambda: edited(film("mp4", times=range(40)), length=2300),
    "MP4, trimmed at both": lambda: edited(film("mp4", times=range(40)), start=1024 * 9, length=1700),
    "MP4, HEVC, trimmed": lambda: edited(film("mp4", "libx265", times=range(40), options={"x265-params": HEVC}), start=1024 * 13, length=1500),
    "MP4 that starts late": lambda: film("mp4", times=range(15, 35)),
    "MP4, B-frames with pauses": lambda: film("mp4", times=PAUSES, options={"x264-params": "b-adapt=0:bframes=3"}),
    "MP4, B-frames with a pause at the end": lambda: film("mp4", times=[0, 1, 2, 3, 4, 5, 6, 7, 50, 51], options={"x264-params": "b-adapt=0:bframes=3"}),
    "MP4, pauses without B-frames": lambda: film("mp4", times=PAUSES, options={"bf": "0"}),
    "MP4, a single frame": lambda: film("mp4", times=[0]),
    "MP4, the sound comes late": lambda: film("mp4", sound="aac", sound_at=0.7),
    "MP4, a sound of an unknown codec": lambda: film("mp4", sound="aac").replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"),
    **{
        f"MP4, matrix {matrix}": functools.partial(turned, *matrix)
        for matrix in [(1, 0, 0, -1), (-1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0)]
    },
    "QuickTime, ProRes": lambda: film("mov", "prores_ks", pix_fmt="yuv422p10le"),
    "QuickTime, Animation": lambda: film("mov", "qtrle", pix_fmt="rgb24"),
    "3GP, MPEG-4": lambda: remuxed(film("avi", "mpeg4"), "3gp"),
    "Matroska, H.264": lambda: film("matroska"),
    "Matroska, FFV1": lambda: film("matroska", "ffv1"),
    "Matroska, B-frames with pauses": lambda: film("matroska", times=PAUSES, options={"x264-params": "b-adapt=0:bframes=3"}),
    "Matroska, 40 fonts": lambda: film("matroska", fonts=40),
    "Matroska, open GOP, cut": lambda: film("matroska", times=range(40), options=OPEN_GOP, keep=lambda i: i >= 8),
    "Matroska, HEVC, open GOP, cut": lambda: film("matroska", "libx265", times=range(40), options={"x265-params": HEVC + ":open-gop=1"}, keep=lambda i: i >= 8),
    "WebM, VP8": lambda: film("webm", "libvpx"),
    "WebM, VP8 with hidden frames": hidden_vp8,
    "WebM, VP9 with hidden frames": lambda: film("webm", "libvpx-vp9", times=range(40), options={"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "WebM, VP9 4:4:4": lambda: film("webm", "libvpx-vp9", pix_fmt="yuv444p"),
    "WebM of a browser": lambda: film("webm", "libvpx", times=[0, 33, 66, 133, 166, 200, 420, 455], rate=1000, sound="libopus", container={"live": "1"}),
    "Matroska of a browser": lambda: film("matroska", times=[0, 33, 66, 133, 166, 200], rate=1000, options={"bf": "0"}, container={"live": "1"}),
    "AVI, MPEG-4 with B-frames": lambda: film("avi", "mpeg4", options={"bf": "2"}),
    "AVI, MJPEG": lambda: film("avi", "mjpeg", pix_fmt="yuvj420p"),
    "AVI, H.264": lambda: film("avi"),
    "Flash Video": lambda: film("flv", sound="aac"),
    "ASF, WMV and WMA": lambda: film("asf", "wmv2", sound="wmav2"),
    "transport stream": lambda: film("mpegts", sound="aac"),
    "transport stream, joined midway": lambda: film("mpegts", times=range(40), options=OPEN_GOP, keep=lambda i: i >= 3),
    "transport stream, HEVC, joined midway": lambda: film("mpegts", "libx265", times=range(40), options={"x265-params": HEVC + ":open-gop=1:repeat-headers=1"}, keep=lambda i: i >= 3),
    "transport stream, MPEG-2, joined midway": lambda: film("mpegts", "mpeg2video", rate=25, sound="mp2", options={"bf": "2", "g": "8"}, keep=lambda i: i >= 3),
    "transport stream, cut off": lambda: film("mpegts", times=range(40))[: 188 * 100],
    "transport stream, joined within a packet": lambda: film("mpegts", times=range(40), options=OPEN_GOP)[188 * 9 + 77 :],
    "transport stream, AVCHD, joined within a packet": lambda: film("mpegts", times=range(40), container={"mpegts_m2ts_mode": "1"})[100:],
    "transport stream with error correction": lambda: with_correction(film("mpegts", times=range(40))),
    "AVCHD": lambda: film("mpegts", sound="ac3", container={"mpegts_m2ts_mode": "1"}),
    "AVCHD, interlaced": lambda: film("mpegts", options={"x264-params": "tff=1"}, container={"mpegts_m2ts_mode": "1"}),
    "MP4, pixels twice as wide": lambda: film("mp4", options={"x264-params": "sar=2/1"}),
    "WebM, half transparent": lambda: film("webm", "libvpx-vp9", pix_fmt="yuva420p"),
    "program stream": lambda: film("mpeg", "mpeg2video", rate=25, sound="mp2", options={"bf": "2"}),
}  # fmt: skip

SOUNDS: dict[str, Callable[[], bytes]] = {
    "WAV": wav,
    "WAV by espeak": lambda: sized_wav(0x7FFFF024, 0x7FFFF000),
    "WAV by SoX into a pipe": lambda: sized_wav(0x7FFFF024, 0x7FFFF000),
    "WAV by FFmpeg into a pipe": lambda: sized_wav(0xFFFFFFFF, 0xFFFFFFFF),
    "WAV by GStreamer": lambda: sized_wav(36, 0),
    "WAV of sizes 0": lambda: sized_wav(0, 0),
    "WAV of size 0, whole otherwise": lambda: sized_wav(36 + 2 * RATE, 0),
    "WAV by mpg123 into a pipe": lambda: sized_wav(0xFFFFFFFF, 0xFFFFFFFF - 36),
    "WAV, size of its samples unknown": lambda: sized_wav(36 + 2 * RATE, 0xFFFFFFFF),
    "WAV, IMA ADPCM": lambda: sound("WAV", "IMA_ADPCM"),
    "WAV, GSM": lambda: sound("WAV", "GSM610", rate=8000),
    "WAV, MP3": lambda: spoken("wav", "libmp3lame"),
    "WAV, size 8 too large": lambda: sized_wav(36 + 2 * RATE + 8, 2 * RATE),
    "WAV, size 0 around true samples": lambda: sized_wav(0, 2 * RATE),
    "RF64": lambda: sound("RF64", "PCM_16"),
    "W64": lambda: sound("W64", "PCM_24"),
    "AU": lambda: sound("AU", "PCM_16"),
    "AU, mu-law": lambda: sound("AU", "ULAW", rate=8000),
    "AU of unknown length": lambda: sound("AU", "PCM_16")[:8] + b"\xff" * 4 + sound("AU", "PCM_16")[12:],
    "CAF": lambda: sound("CAF", "PCM_16"),
    "CAF, ALAC": lambda: sound("CAF", "ALAC_16"),
    "AIFF": lambda: sound("AIFF", "PCM_16"),
    "AIFF-C, little-endian": lambda: sound("AIFF", "PCM_16", endian="LITTLE"),
    "FLAC": lambda: sound("FLAC"),
    "FLAC written into a pipe": lambda: without_length(sound("FLAC")),
    "FLAC by FFmpeg": lambda: spoken("flac", "flac", options={"write_header": "1"}),
    "FLAC behind ID3": lambda: id3() + sound("FLAC"),
    "Ogg Vorbis": lambda: sound("OGG", "VORBIS"),
    "Ogg Opus": lambda: sound("OGG", "OPUS"),
    "Ogg FLAC": lambda: spoken("ogg", "flac"),
    "Ogg Speex": speex,
    "chained Ogg Vorbis": lambda: sound("OGG", "VORBIS") + sound("OGG", "VORBIS"),
    "chained Ogg Speex": lambda: speex() + speex(25),
    "chained Ogg FLAC": lambda: spoken("ogg", "flac") + spoken("ogg", "flac"),
    "chained Ogg Opus": lambda: sound("OGG", "OPUS") + sound("OGG", "OPUS"),
    "MP3": lambda: spoken("mp3", "libmp3lame"),
    "MP3 behind two ID3 tags": lambda: id3() + id3(40) + spoken("mp3", "libmp3lame", options={"id3v2_version": "0"}),
    "MP3 without a header": lambda: spoken("mp3", "libmp3lame", options={"write_xing": "0", "id3v2_version": "0"}),
    "MP3, joined midway": lambda: spoken("mp3", "libmp3lame", seconds=2, options={"write_xing": "0", "id3v2_version": "0"})[288 * 3 :],
    "MP3, joined within a frame": lambda: spoken("mp3", "libmp3lame", seconds=2, options={"write_xing": "0", "id3v2_version": "0"})[100:],
    "MP3 behind zeros": lambda: bytes(100) + spoken("mp3", "libmp3lame", options={"write_xing": "0", "id3v2_version": "0"}),
    "MP2, joined within a frame": lambda: spoken("mp2", "mp2")[100:],
    "AAC, joined within a frame": lambda: spoken("adts", "aac")[33:],
    "MP2": lambda: spoken("mp2", "mp2"),
    "AAC": lambda: spoken("adts", "aac"),
    "AAC behind ID3": lambda: id3() + spoken("adts", "aac"),
    "M4A, AAC": lambda: spoken("ipod", "aac"),
    "M4A, AAC, trimmed": lambda: edited(spoken("ipod", "aac", seconds=2), start=RATE // 2, length=1000),
    "M4A, ALAC": lambda: spoken("ipod", "alac"),
    "MP4, Opus": lambda: spoken("mp4", "libopus", rate=48_000),
    "WebM, Opus": lambda: spoken("webm", "libopus", rate=48_000),
    "WebM, Opus, of a browser": lambda: spoken("webm", "libopus", rate=48_000, options={"live": "1"}),
    "Matroska, FLAC": lambda: spoken("matroska", "flac"),
    "WMA": lambda: spoken("asf", "wmav2"),
    "transport stream of sound": lambda: spoken("mpegts", "aac"),
}  # fmt: skip
