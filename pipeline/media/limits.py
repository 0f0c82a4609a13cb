"""All limits on media. A file that exceeds one becomes a rejection that names the limit; nothing is silently reduced."""

MAX_BYTES = 1 << 30  # of a file, which is read into memory
MAX_PIXELS = 89_478_485  # of an image or frame: Pillow's own limit, 256 MB of RGB
MAX_SECONDS = 4 * 3600  # of a video or sound
MAX_FRAMES = 1_000_000  # of a video: more than four hours at 60 per second
MAX_TRACKS = 32  # streams in a container
MAX_CHANNELS = 32  # of an audio clip
RATES = (1_000, 768_000)  # minimum and maximum samples per second of an audio clip
FRAME_SIDE = 1920  # pixels: larger video frames are scaled down when decoded
HEARD_SECONDS = 600  # of an audio clip, as passed to a model; the rest is cut off

# of the decoder process, for one file
PROBE_SECONDS = 20  # CPU seconds to read a picture's metadata
DECODE_SECONDS = 120  # CPU seconds to decode, and to read the metadata of a video or sound
PORTABLE_SECONDS = 400  # CPU seconds to decode and encode again
WALL_SECONDS = 600  # wall-clock seconds, for a busy machine
MEMORY = 4 << 30  # bytes of address space
