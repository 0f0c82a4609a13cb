"""Scenes with exactly known ground truth: one picture, two pictures, a video or a sound; their questions and answers.

Everything is drawn from a seed. The words come from `data/scenes/patterns.yaml`; the combinations reserved for the split
`eval` come from `data/scenes/heldout.yaml`. The first part of this module is pure, encoding follows."""

import io
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import yaml
from PIL import Image, ImageDraw

from pipeline.media.probe import probe
from schemas.claim_patterns import Patterns, compile_patterns, split
from schemas.ports import MediaStore
from schemas.records import Media, Part

FOLDER = Path(__file__).parents[2] / "data" / "scenes"
SPLITS = ("train", "eval")
CELL = 32  # pixels; a picture is two cells wide and high
SIZE = 2 * CELL
FRAMES = 8
FPS = 2
RATE = 16_000  # Hz; a sound lasts one second
SLOT = 0.2  # seconds; at most one beep starts in each
BEEP = 0.1  # seconds
MAX_BEEPS = 4
NUMBERS = ("no", "one", "two", "three", "four", "five")
PAINT = {
    "red": (214, 40, 40), "green": (42, 157, 65), "blue": (38, 84, 214),
    "yellow": (240, 200, 30), "purple": (130, 50, 170), "orange": (245, 130, 30),
}  # fmt: skip
STEP = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


class Thing(NamedTuple):
    """A coloured shape in one of the four cells of a picture."""

    cell: str
    colour: str
    shape: str


class Task(NamedTuple):
    """An open question with its complete true answer. `part` is the picture it asks about: 0, 1 or None."""

    name: str
    question: str
    answer: str
    part: int | None = None


@dataclass(frozen=True)
class World:
    """What can be drawn and said: the parsed contents of the two data files."""

    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    cells: tuple[str, ...]
    directions: tuple[str, ...]
    pitches: tuple[str, ...]
    questions: dict[str, dict[str, str]]  # kind -> name -> template of a yes/no question
    tasks: dict[str, dict]  # name -> question and answers, as in the file
    patterns: Patterns
    held_pictures: frozenset[tuple[str, str]]  # colour, shape
    held_videos: frozenset[tuple[str, str, str]]  # colour, shape, direction
    held_sounds: frozenset[tuple[str, str]]  # number, pitch

    def holds(self, colour: str, shape: str, direction: str | None = None) -> bool:
        """Whether this combination is reserved for evaluation: colour and shape, or with a direction."""
        return (colour, shape) in self.held_pictures or (colour, shape, direction) in self.held_videos

    @cached_property
    def looks(self) -> list[tuple[str, str]]:
        """Every (colour, shape) that a training picture may show."""
        return [look for look in self.all_looks if look not in self.held_pictures]

    @cached_property
    def all_looks(self) -> list[tuple[str, str]]:
        """Every (colour, shape), held-out ones included."""
        return [(colour, shape) for colour in self.colours for shape in self.shapes]


def load_world(folder: Path = FOLDER) -> World:
    """Reads `patterns.yaml` and `heldout.yaml` of `folder`."""
    data = yaml.safe_load((folder / "patterns.yaml").read_text())
    held = yaml.safe_load((folder / "heldout.yaml").read_text())
    slots = {name: tuple(words) for name, words in data["slots"].items()}
    return World(
        slots["colour"], slots["shape"], slots["cell"], slots["direction"], slots["pitch"],
        data["questions"], {task["name"]: task for task in data["tasks"]}, compile_patterns(data),
        *(frozenset(map(tuple, held[name])) for name in ("pictures", "videos", "sounds")),
    )  # fmt: skip


class Scene:
    """One drawn scene. Subclasses define its media, questions and ground truth.

    kind      image, multi_image, video or audio
    held_out  whether it contains a combination reserved for evaluation
    """

    kind: str
    held_out: bool

    def __init__(self, world: World, rng: random.Random, split: str):
        self.world = world
        self.split = split
        self._draw(rng)
        self.seed = rng.randrange(
            1 << 30
        )  # of everything that does not affect the ground truth: sizes, positions, noise

    def parts(self) -> list[tuple[str, object]]:
        """The prompt's parts before the question, in order: ("text", str), ("image", 64x64 RGB picture), ("video", 8 such
        pictures, 2 per second) or ("audio", float32 samples in -1..1, 16 kHz)."""
        raise NotImplementedError

    def tasks(self) -> list[Task]:
        """The open questions about this scene."""
        raise NotImplementedError

    def truths(self) -> list[str]:
        """Every yes/no question about this scene whose true answer is yes."""
        raise NotImplementedError

    def questions(self, rng: random.Random, n: int) -> list[tuple[str, bool]]:
        """`n` yes/no questions with their true answers: as many yes as no (one more of either if n is odd).

        In the split `train` none names a held-out combination: its answer would always be no, which teaches to deny it."""
        left = {True: (n + 1) // 2, False: (n + 1) // 2}
        out = []
        while len(out) < n:
            asked = self._ask(rng)
            if asked and left[asked[1]]:
                out.append(asked)
                left[asked[1]] -= 1
        return out

    def facts(self, task: Task) -> dict:
        """The ground truth, as JSON values.

        yes     all yes/no questions whose true answer is yes; for every other one it is no
        expect  the claims of a complete true answer to `task`, each with the answer it implies"""
        claims = split(self.world.patterns, task.question, task.answer)
        assert claims is not None  # a true answer follows a pattern of its task
        return {"yes": self.truths(), "expect": [[question, wanted] for question, wanted in claims]}

    def _draw(self, rng: random.Random) -> None:
        raise NotImplementedError

    def _ask(self, rng: random.Random) -> tuple[str, bool] | None:
        """A random yes/no question with its true answer, or None if the drawn one must not be asked."""
        raise NotImplementedError

    def _question(self, name: str, **words: str) -> str:
        return self.world.questions[self.kind][name].format(**words)

    def _task(self, name: str, answer: str, part: int | None = None, **words: str) -> Task:
        return Task(name, self.world.tasks[name]["question"].format(**words), answer, part)

    def _form(self, task: str, index: int = 0) -> dict:
        return self.world.tasks[task]["answers"][index]

    def _looks(self) -> list[tuple[str, str]]:
        return self.world.looks if self.split == "train" else self.world.all_looks

    def _must_not_ask(self, colour: str, shape: str) -> bool:
        return self.split == "train" and self.world.holds(colour, shape)


class ImageScene(Scene):
    """One to four things in the cells of a picture."""

    kind = "image"

    def _draw(self, rng):
        self.things = _things(self.world, rng, (3, 4, 3, 1), self._looks())
        self.held_out = any(self.world.holds(t.colour, t.shape) for t in self.things)

    def parts(self):
        return [("image", paint_picture(self.things, self.seed))]

    def tasks(self):
        return [self._task("describe", self.describe(self.things))]

    def describe(self, things: list[Thing]) -> str:
        """The answer that names `things`."""
        return _describe(self._form("describe"), things)

    def truths(self):
        return _unique(
            self._question(name, a=indefinite_article(t.colour), **t._asdict())
            for t in self.things
            for name in ("object_at", "object")
        )

    def _ask(self, rng):
        thing, exact = _asked_thing(self.world, self.things, [], rng)
        if self._must_not_ask(thing.colour, thing.shape):
            return None
        question = self._question(
            "object_at" if exact else "object", a=indefinite_article(thing.colour), **thing._asdict()
        )
        return question, _shows(self.things, thing, exact)


class MultiImageScene(Scene):
    """Two pictures with one or two things each, labelled "picture one" and "picture two"."""

    kind = "multi_image"
    names = NUMBERS[1:3]

    def _draw(self, rng):
        self.pictures = [_things(self.world, rng, (3, 3), self._looks()) for _ in self.names]
        self.wanted = rng.choice(self.world.shapes) if rng.random() < 0.3 else self._any_shape(rng)
        self.held_out = any(self.world.holds(t.colour, t.shape) for things in self.pictures for t in things)

    def _any_shape(self, rng):
        return rng.choice(rng.choice(self.pictures)).shape

    def parts(self):
        out = []
        for i, (name, things) in enumerate(zip(self.names, self.pictures)):
            out += [("text", f"picture {name}"), ("image", paint_picture(things, self.seed + i))]
        return out

    def tasks(self):
        describe = [
            self._task("describe_one", self.describe(things), i, picture=name)
            for i, (name, things) in enumerate(zip(self.names, self.pictures))
        ]
        return [*describe, self._task("which_picture", self.which(*map(self._has_wanted, (0, 1))), shape=self.wanted)]

    def describe(self, things: list[Thing]) -> str:
        """The answer that names `things`."""
        return _describe(self._form("describe_one"), things)

    def which(self, first: bool, second: bool) -> str:
        """The answer that says which pictures contain the wanted shape."""
        index = {(True, False): 0, (False, True): 1, (True, True): 2, (False, False): 3}[first, second]
        return self._form("which_picture", index)["answer"]

    def truths(self):
        out = []
        for name, things in zip(self.names, self.pictures):
            for t in things:
                words = t._asdict() | {"a": indefinite_article(t.colour), "picture": name}
                out += [self._question(question, **words) for question in ("object_at", "object", "shape")]
        return _unique(out)

    def _has(self, i, shape):
        return any(t.shape == shape for t in self.pictures[i])

    def _has_wanted(self, i):
        return self._has(i, self.wanted)

    def _ask(self, rng):
        i = rng.randrange(2)
        if rng.random() < 0.25:
            shape = rng.choice(self.world.shapes) if rng.random() < 0.4 else self._any_shape(rng)
            return self._question("shape", shape=shape, picture=self.names[i]), self._has(i, shape)
        thing, exact = _asked_thing(self.world, self.pictures[i], self.pictures[1 - i], rng)
        if self._must_not_ask(thing.colour, thing.shape):
            return None
        words = thing._asdict() | {"a": indefinite_article(thing.colour), "picture": self.names[i]}
        return self._question("object_at" if exact else "object", **words), _shows(self.pictures[i], thing, exact)


class VideoScene(Scene):
    """One thing that moves in one direction."""

    kind = "video"

    def _draw(self, rng):
        while True:
            self.colour, self.shape = rng.choice(self.world.all_looks)
            self.direction = rng.choice(self.world.directions)
            self.held_out = self.world.holds(self.colour, self.shape, self.direction)
            if self.split == "eval" or not self.held_out:
                return

    def parts(self):
        return [("video", self.frames())]

    def frames(self) -> list[Image.Image]:
        """FRAMES pictures of 64x64 pixels."""
        rng = random.Random(self.seed)
        ground, radius, speed = rng.randint(200, 250), rng.uniform(9, 13), rng.uniform(3.4, 4.6)
        low, high = 14, SIZE - 14
        dx, dy = STEP[self.direction]
        x, y = ({-1: high, 0: rng.uniform(low, high), 1: low}[d] for d in (dx, dy))
        out = []
        for t in range(FRAMES):
            frame = Image.new("RGB", (SIZE, SIZE), (ground,) * 3)
            _paint(ImageDraw.Draw(frame), self.colour, self.shape, x + dx * speed * t, y + dy * speed * t, radius)
            out.append(frame)
        return out

    def tasks(self):
        return [self._task("what_happens", self.say(self.colour, self.shape))]

    def say(self, colour: str, shape: str, direction: str | None = None) -> str:
        """The answer that describes this colour and shape, moving in `direction` (default: the scene's own)."""
        words = {
            "a": indefinite_article(colour),
            "colour": colour,
            "shape": shape,
            "direction": direction or self.direction,
        }
        return self._form("what_happens")["answer"].format(**words)

    def truths(self):
        return [self._question(name, **{name: getattr(self, name)}) for name in ("colour", "shape", "direction")]

    def _ask(self, rng):
        name = rng.choice(("colour", "shape", "direction"))
        words = {"colour": self.world.colours, "shape": self.world.shapes, "direction": self.world.directions}[name]
        true = getattr(self, name)
        asked = true if rng.random() < 0.5 else rng.choice(words)
        return self._question(name, **{name: asked}), asked == true


class AudioScene(Scene):
    """One to four beeps of one pitch in a second of soft noise."""

    kind = "audio"

    def _draw(self, rng):
        while True:
            self.number, self.pitch = rng.randint(1, MAX_BEEPS), rng.choice(self.world.pitches)
            self.held_out = (NUMBERS[self.number], self.pitch) in self.world.held_sounds
            if self.split == "eval" or not self.held_out:
                return

    def parts(self):
        return [("audio", self.wave())]

    def wave(self) -> np.ndarray:
        """float32 [16000] in -1..1, quantised to 16 bits so that a file of it decodes to the same values."""
        rng, frequency, starts = self._sound()
        wave = rng.normal(0, 0.02, RATE)
        length = int(BEEP * RATE)
        beep = 0.5 * np.sin(2 * math.pi * frequency * np.arange(length) / RATE) * np.hanning(length)
        for start in starts:
            wave[start : start + length] += beep
        return (np.round(np.clip(wave, -1, 1) * 32767) / 32768).astype(np.float32)

    def starts(self) -> list[int]:
        """The sample index at which each beep starts."""
        return self._sound()[2]

    def _sound(self):
        rng = np.random.default_rng(self.seed)
        frequency = rng.uniform(250, 450) if self.pitch == "low" else rng.uniform(1200, 2000)  # Hz
        slots = np.sort(rng.choice(int(1 / SLOT), self.number, replace=False))
        return rng, frequency, [int((slot * SLOT + rng.uniform(0.01, 0.07)) * RATE) for slot in slots]

    def tasks(self):
        return [self._task("what_is_heard", self.say(self.number, self.pitch))]

    def say(self, number: int, pitch: str) -> str:
        """The answer that reports this many beeps of this pitch."""
        return self._form("what_is_heard", int(number > 1))["answer"].format(number=NUMBERS[number], pitch=pitch)

    def truths(self):
        return [self._ask_number(self.number), self._question("pitch", pitch=self.pitch)]

    def _ask_number(self, number):
        return self._question("one") if number == 1 else self._question("number", number=NUMBERS[number])

    def _ask(self, rng):
        yes = rng.random() < 0.5
        if rng.random() < 0.35:
            pitch = self.pitch if yes else rng.choice([p for p in self.world.pitches if p != self.pitch])
            return self._question("pitch", pitch=pitch), yes
        number = self.number if yes else rng.choice([n for n in range(1, len(NUMBERS)) if n != self.number])
        return self._ask_number(number), yes


SCENES: dict[str, type[Scene]] = {cls.kind: cls for cls in (ImageScene, MultiImageScene, VideoScene, AudioScene)}
S = TypeVar("S", bound=Scene)
Kind = Literal["image", "multi_image", "video", "audio"]
SHARES: dict[Kind, int] = {"image": 3, "multi_image": 3, "video": 2, "audio": 2}  # tenths of a run


def draw(world: World, kind: str, seed: int | str, split: str = "train") -> Scene:
    """The scene of this kind for a seed. `train` has no held-out combinations, `eval` draws from all."""
    return draw_as(SCENES[kind], world, seed, split)


def draw_as(scene: type[S], world: World, seed: int | str, split: str = "train") -> S:
    """As `draw`, for the class of a kind. ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, but must be one of {', '.join(SPLITS)}")
    return scene(world, random.Random(f"{split} {scene.kind} {seed}"), split)


def kinds_of(n: int, seed: int, shares: dict[Kind, int] = SHARES) -> list[str]:
    """The kinds of `n` scenes, in proportion to `shares`, shuffled by `seed`."""
    total, upto, kinds = sum(shares.values()), 0, []
    for kind, share in shares.items():
        upto += share
        kinds += [kind] * (round(n * upto / total) - len(kinds))
    random.Random(f"kinds {seed}").shuffle(kinds)
    return kinds


def scenes(world: World, n: int, seed: int, split: str = "train", shares: dict[Kind, int] = SHARES) -> Iterator[Scene]:
    """The `n` scenes of a run."""
    for i, kind in enumerate(kinds_of(n, seed, shares)):
        yield draw(world, kind, f"{seed}/{i}", split)


def indefinite_article(word: str) -> str:
    """The indefinite article of a word."""
    return "an" if word[0] in "aeiou" else "a"


def paint_picture(things: list[Thing], seed: int) -> Image.Image:
    """A 64x64 RGB picture of `things`; sizes and exact positions come from the seed."""
    rng = random.Random(seed)
    image = Image.new("RGB", (SIZE, SIZE), (rng.randint(200, 250),) * 3)
    canvas = ImageDraw.Draw(image)
    for cell, colour, shape in things:
        row, column = cell.split()
        x = (0.5 + (column == "right")) * CELL + rng.uniform(-3, 3)
        y = (0.5 + (row == "bottom")) * CELL + rng.uniform(-3, 3)
        _paint(canvas, colour, shape, x, y, rng.uniform(8, 13))
    return image


def _paint(canvas: ImageDraw.ImageDraw, colour: str, shape: str, x: float, y: float, radius: float) -> None:
    fill = PAINT[colour]
    if shape == "circle":
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
    elif shape == "square":
        half = 0.85 * radius
        canvas.rectangle((x - half, y - half, x + half, y + half), fill)
    elif shape == "triangle":
        foot = y + 0.85 * radius
        canvas.polygon([(x, y - radius), (x + radius, foot), (x - radius, foot)], fill)
    elif shape == "star":
        reach = [radius if i % 2 == 0 else 0.42 * radius for i in range(10)]
        turns = [i * math.pi / 5 for i in range(10)]
        canvas.polygon([(x + r * math.sin(t), y - r * math.cos(t)) for r, t in zip(reach, turns)], fill)
    elif shape == "cross":
        half = 0.35 * radius
        canvas.rectangle((x - half, y - radius, x + half, y + radius), fill)
        canvas.rectangle((x - radius, y - half, x + radius, y + half), fill)
    else:
        raise ValueError(f"cannot paint the shape {shape!r}; add it to _paint")


def _things(world: World, rng: random.Random, weights: tuple[int, ...], looks: list[tuple[str, str]]) -> list[Thing]:
    """One to len(weights) things in different cells, in the order of the cells."""
    count = rng.choices(range(1, len(weights) + 1), weights)[0]
    cells = sorted(rng.sample(range(len(world.cells)), count))
    return [Thing(world.cells[cell], *rng.choice(looks)) for cell in cells]


def _describe(form: dict, things: list[Thing]) -> str:
    items = [form["item"].format(a=indefinite_article(t.colour), **t._asdict()) for t in things]
    return form["answer"].format(items=form["join"].join(items))


def _shows(things: list[Thing], asked: Thing, exact: bool) -> bool:
    return asked in things if exact else any(asked[1:] == thing[1:] for thing in things)


def _asked_thing(world, things, others, rng) -> tuple[Thing, bool]:
    """A thing to ask about (present, or a near miss), and whether the question names its cell.

    others: the things of the other picture."""
    asked, exact = rng.choice(things), rng.random() < 0.6
    if rng.random() < 0.5:
        return asked, exact
    way, free = rng.random(), [cell for cell in world.cells if all(cell != t.cell for t in things)]
    if others and way < 0.25:
        asked = rng.choice(others)
    elif way < 0.5:
        asked = asked._replace(colour=rng.choice(world.colours))
    elif way < 0.7:
        asked = asked._replace(shape=rng.choice(world.shapes))
    elif exact:
        asked = asked._replace(cell=rng.choice(free or world.cells))
        if rng.random() < 0.6:
            asked = asked._replace(colour=rng.choice(world.colours))
    else:
        asked = Thing(asked.cell, rng.choice(world.colours), rng.choice(world.shapes))
    return asked, exact


def _unique(questions) -> list[str]:
    return list(dict.fromkeys(questions))


# ---------------------------------------------------------------------------------------------------------------------
# Encoding. The same scene gives the same bytes in every process (with the same encoder versions).


def encode(kind: str, content, flac: bool = False) -> tuple[bytes, str]:
    """The encoded bytes of one part of `Scene.parts`, and their MIME type. A sound becomes WAV, or FLAC if `flac`."""
    return _ENCODERS[kind](content, flac)


def is_flac(scene: Scene) -> bool:
    """Whether a scene's sound is stored as FLAC: half of them are, so that both formats are exercised."""
    return scene.seed % 2 == 1


def _encode_image(image: Image.Image, flac: bool) -> tuple[bytes, str]:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue(), "image/png"


def _encode_video(frames: list[Image.Image], flac: bool) -> tuple[bytes, str]:
    import av  # not at the top: every command that opens a recipe would pay for it

    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options={"fflags": "+bitexact"}) as container:  # no dates, no version strings
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"  # what every browser plays
        stream.time_base = Fraction(1, FPS)
        # several threads would give other slices; B-frames would shift the first timestamp
        stream.options = {"crf": "6", "preset": "medium", "threads": "1", "bf": "0"}
        for i, frame in enumerate(frames):
            encoded = av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")
            encoded.pts, encoded.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(encoded))
        container.mux(stream.encode(None))
    return out.getvalue(), "video/mp4"


def _encode_audio(wave: np.ndarray, flac: bool) -> tuple[bytes, str]:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, wave, RATE, subtype="PCM_16", format="FLAC" if flac else "WAV")
    return out.getvalue(), "audio/flac" if flac else "audio/wav"


_ENCODERS: dict[str, Callable] = {"image": _encode_image, "video": _encode_video, "audio": _encode_audio}


def store_scene(scene: Scene, store: MediaStore) -> tuple[list[Part], list[Media]]:
    """The parts of a scene's prompt, with its media added to the store, and their Media records."""
    parts, media = [], []
    for kind, content in scene.parts():
        if isinstance(content, str):
            parts.append(Part("text", content))
            continue
        data, _ = encode(kind, content, is_flac(scene))
        media.append(probe(data, f"{scene.kind} scene")._replace(source="source.scenes"))
        parts.append(Part(kind, media=store.add(data)))
    return parts, media
