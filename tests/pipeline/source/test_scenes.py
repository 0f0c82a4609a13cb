import hashlib
import io
import json
import random
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.scenes.world import SCENES, draw, encode, is_flac, kinds_of, load_world, scenes
from schemas.claim_patterns import split

WORLD = load_world()
KINDS = sorted(SCENES)
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def all_bytes(world, kind, seed):
    scene = draw(world, kind, seed, "eval")
    return [encode(kind, content, is_flac(scene))[0] for kind, content in scene.parts() if kind != "text"]


def fingerprint(n=6):
    world, digest = load_world(), hashlib.sha256()
    for kind in KINDS:
        for seed in range(n):
            digest.update(b"".join(all_bytes(world, kind, seed)))
    return digest.hexdigest()


def test_two_processes_make_the_same_bytes():
    code = "from tests.pipeline.source.test_scenes import fingerprint; print(fingerprint())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint()


@EACH_KIND
def test_seeds_and_splits_are_different_scenes(kind):
    truths = [draw(WORLD, kind, seed, split).seed for split in ("train", "eval") for seed in range(20)]
    assert len(set(truths)) == 40


@EACH_KIND
def test_a_true_answer_makes_only_true_claims(kind):
    for seed in range(100):
        scene = draw(WORLD, kind, seed, "eval")
        for task in scene.tasks():
            facts = scene.facts(task)
            json.dumps(facts, allow_nan=False)
            claims = split(WORLD.patterns, task.question, task.answer)
            assert [list(claim) for claim in claims] == facts["expect"]
            assert all((question in facts["yes"]) == wanted for question, wanted in claims)


@EACH_KIND
def test_yes_no_questions_are_true_to_the_facts_and_balanced(kind):
    rng, answers = random.Random(0), []
    for seed in range(100):
        scene = draw(WORLD, kind, seed, "eval")
        yes = set(scene.facts(scene.tasks()[0])["yes"])
        asked = scene.questions(rng, 5)
        assert all((question in yes) == answer for question, answer in asked)
        assert 2 <= sum(answer for _, answer in asked) <= 3
        answers += [answer for _, answer in asked]
    assert 0.4 < np.mean(answers) < 0.6


@EACH_KIND
def test_training_never_shows_a_held_out_combination(kind):
    rng = random.Random(0)
    for seed in range(500):
        scene = draw(WORLD, kind, seed)
        assert not scene.held_out
        said = " ".join([*scene.truths(), *(question for question, _ in scene.questions(rng, 4))])
        if kind in ("image", "multi_image"):
            assert not any(f"{colour} {shape}" in said for colour, shape in WORLD.held_pictures)
        if kind == "video":
            assert (scene.colour, scene.shape) not in WORLD.held_pictures
            assert (scene.colour, scene.shape, scene.direction) not in WORLD.held_videos


@EACH_KIND
def test_evaluation_shows_some_held_out_combinations(kind):
    # sounds: one of eight combinations, .125; pictures: two of thirty, in one to four things
    assert 0.08 < np.mean([draw(WORLD, kind, seed, "eval").held_out for seed in range(1000)]) < 0.35


def test_every_colour_shape_direction_and_number_remains_in_training():
    drawn = [draw(WORLD, "video", seed) for seed in range(500)]
    assert {s.colour for s in drawn} == set(WORLD.colours)
    assert {s.shape for s in drawn} == set(WORLD.shapes)
    assert {s.direction for s in drawn} == set(WORLD.directions)
    assert {draw(WORLD, "audio", seed).number for seed in range(100)} == {1, 2, 3, 4}


def test_a_picture_survives_its_encoding():
    (_, image), *_ = draw(WORLD, "image", 1).parts()
    data, mime = encode("image", image)
    assert mime == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(image))


def test_a_video_is_eight_frames_at_two_a_second_and_almost_exact():
    ((_, frames),) = draw(WORLD, "video", 1).parts()
    data, mime = encode("video", frames)
    assert mime == "video/mp4"
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 2
        decoded = list(container.decode(stream))
    assert [float(frame.time) for frame in decoded] == [i / 2 for i in range(8)]
    shown = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded]).astype(int)
    assert np.abs(shown - np.stack([np.asarray(frame) for frame in frames])).mean() < 3  # of 255


@pytest.mark.parametrize(("flac", "mime"), [(False, "audio/wav"), (True, "audio/flac")])
def test_a_sound_survives_its_encoding(flac, mime):
    ((_, wave),) = draw(WORLD, "audio", 1).parts()
    data, found = encode("audio", wave, flac)
    back, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert (found, rate) == (mime, 16_000)
    assert np.array_equal(back, wave)


def test_half_of_the_sounds_are_flac():
    assert 0.3 < np.mean([is_flac(draw(WORLD, "audio", seed)) for seed in range(200)]) < 0.7


def test_a_run_mixes_the_media_in_the_wanted_shares():
    assert [kinds_of(100, 1).count(kind) for kind in ("image", "multi_image", "video", "audio")] == [30, 30, 20, 20]
    assert kinds_of(100, 1) != kinds_of(100, 2)
    assert len(kinds_of(7, 1)) == 7
    assert [scene.kind for scene in scenes(WORLD, 30, 5)] == kinds_of(30, 5)
