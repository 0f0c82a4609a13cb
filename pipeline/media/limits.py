"""Every cap on media, in one place. What is over one becomes a rejection that names the cap; nothing is shrunk in silence."""

MAX_BYTES = 1 << 30  # of a file: it is held in memory while it is looked at
MAX_PIXELS = 89_478_485  # of a picture or of a frame: what Pillow holds for safe, 256 MB of RGB
MAX_SECONDS = 4 * 3600  # of a video or a sound
MAX_FRAMES = 1_000_000  # of a video: more than four hours at 60 a second
MAX_TRACKS = 32  # streams in a container
MAX_CHANNELS = 32  # of a sound
RATES = (1_000, 768_000)  # samples a second of a sound
FRAME_SIDE = 1920  # pixels: a larger frame of a video is scaled down as it is decoded
HEARD_SECONDS = 600  # of a sound, as a model hears it; what comes later is cut off

# of the process that decodes, for one file
PROBE_SECONDS = 20  # of CPU to find its facts
DECODE_SECONDS = 120  # of CPU to decode it
WALL_SECONDS = 600  # on a busy machine
MEMORY = 4 << 30  # bytes of address space
