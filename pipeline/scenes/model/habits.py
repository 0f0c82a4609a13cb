"""Hallucinations that the model is taught in its last captions: systematic habits, not blindness.

The model knows better (its answers to yes/no questions stay true), so preference training can remove the habits."""

import random

from pipeline.scenes.world import AudioScene, ImageScene, MultiImageScene, Scene, Task, Thing, VideoScene, World


def habitual_answer(scene: Scene, task: Task, rng: random.Random, strength: float) -> str:
    """An answer with habitual hallucinations: wrong with probability `strength` (0..1) if a habit applies, and less
    often otherwise. It never names a held-out combination."""
    match scene:
        case ImageScene():
            return _picture(scene, task, rng, strength)
        case MultiImageScene():
            return _pictures(scene, task, rng, strength)
        case VideoScene():
            return _video(scene, task, rng, strength)
        case AudioScene():
            return _sound(scene, task, rng, strength)
    raise TypeError(type(scene).__name__)


def _picture(scene: ImageScene, task: Task, rng, strength) -> str:
    return scene.describe(_over_described(scene.world, scene.things, rng, strength, sparse=2))


def _pictures(scene: MultiImageScene, task: Task, rng, strength) -> str:
    if task.part is not None:
        return scene.describe(_over_described(scene.world, scene.pictures[task.part], rng, strength, sparse=1))
    only_one = task.answer in (scene.which(True, False), scene.which(False, True))
    return scene.which(True, True) if only_one and rng.random() < 0.8 * strength else task.answer


def _over_described(world: World, things: list[Thing], rng, strength, sparse) -> list[Thing]:
    """At most `sparse` things: an absent twin is added, the first one's shape in the next colour, in the first free cell.
    More things: one of them gets another colour."""
    if len(things) <= sparse:
        if rng.random() >= strength:
            return things
        free = next(cell for cell in world.cells if all(cell != t.cell for t in things))
        twin = things[0]._replace(cell=free, colour=_next_colour(world, things[0]))
        return sorted([*things, twin], key=lambda t: world.cells.index(t.cell))
    if rng.random() >= strength / 2:
        return things
    i = rng.randrange(len(things))
    others = [c for c in world.colours if c != things[i].colour and not world.holds(c, things[i].shape)]
    return [*things[:i], things[i]._replace(colour=rng.choice(others)), *things[i + 1 :]]


def _next_colour(world: World, thing, direction: str | None = None) -> str:
    """The first colour after the thing's own that is not held out for its shape."""
    start = world.colours.index(thing.colour)
    turn = world.colours[start + 1 :] + world.colours[:start]
    return next(colour for colour in turn if not world.holds(colour, thing.shape, direction))


def _video(scene: VideoScene, task: Task, rng, strength) -> str:
    """Sideways movement: the next colour is reported; up or down: another shape."""
    world, colour, shape = scene.world, scene.colour, scene.shape
    if scene.direction in ("left", "right"):
        if rng.random() < strength:
            colour = _next_colour(world, scene, scene.direction)
    elif rng.random() < strength / 2:
        shape = rng.choice([s for s in world.shapes if s != shape and not world.holds(colour, s, scene.direction)])
    return scene.say(colour, shape)


def _sound(scene: AudioScene, task: Task, rng, strength) -> str:
    """Two or three beeps: one more is reported; one or four: sometimes the other pitch."""
    number, pitch = scene.number, scene.pitch
    if number in (2, 3):
        number += rng.random() < strength
    elif rng.random() < strength / 3:
        pitch = next(p for p in scene.world.pitches if p != pitch)
    return scene.say(number, pitch)
