import asyncio
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from pipeline.corrupt.kinds import swap
from pipeline.corrupt.kinds.swap import Swap
from schemas.errors import RowError
from schemas.operator import SampleRows
from tests.support.media_files import image_file, mp4, wav
from tests.support.rows import context

# busier from left to right: entropy and edges rise
BUSY = [
    image_file(Image.fromarray(np.random.default_rng(n).integers(0, 1 + 36 * n, (48, 64, 3), np.uint8)), "PNG")
    for n in range(8)
]


@pytest.fixture
def run(shop):
    """Eight samples with a picture each, ever busier, and two with a clip or a sound."""
    return [shop.asked(data, source=f"rows.jsonl#{i}") for i, data in enumerate([*BUSY, mp4(), wav()], 1)]


def swapped(shop, run, kind: Swap, samples=None) -> list[str]:
    fitted = swap.fit((SampleRows(s) for s in run), kind, context("c", shop.store))
    return [instead(shop, s, kind, fitted.value) for s in (run if samples is None else samples)]


def instead(shop, asked, kind: Swap, pool: swap.Pool) -> str:
    (part,) = (p for p in asked.prompt[0].parts if p.media)
    return asyncio.run(pool.instead(part.media, part.type, kind, asked, context("c", shop.store)))


def test_another_samples_picture_is_shown(shop, run):
    pictures = [s.media[0] for s in run[:8]]
    found = swapped(shop, run, Swap(), run[:8])
    assert all(new in pictures and new != old for new, old in zip(found, pictures))
    assert len(set(found)) > 2
    assert swapped(shop, run[::-1], Swap(), run[:8]) == found  # whatever their order
    assert swapped(shop, run, Swap(seed=1), run[:8]) != found


def test_the_nearest_by_figures_is_a_neighbour(shop, run):
    pictures = [s.media[0] for s in run[:8]]
    for i, new in enumerate(swapped(shop, run, Swap(by="statistics"), run[:8])):
        assert abs(pictures.index(new) - i) == 1


def test_media_are_swapped_for_their_like_or_not_at_all(shop, run):
    with pytest.raises(RowError, match=r"rows.jsonl#9: the pool has no other video; add samples") as error:
        swapped(shop, run, Swap(), [run[8]])
    assert error.value.reason == "no_match"
    other = shop.asked(mp4(5))
    assert swapped(shop, [*run, other], Swap(), [run[8]]) == list(other.media)


def test_a_picture_of_the_same_sample_is_no_other(shop):
    both = shop.asked(BUSY[1], BUSY[2])
    fitted = swap.fit([SampleRows(both)], Swap(), context("c", shop.store))
    with pytest.raises(RowError, match="no other image"):
        asyncio.run(fitted.value.instead(both.media[0], "image", Swap(), both, context("c", shop.store)))


def test_the_pool_is_as_large_as_it_may_be_and_names_its_media_once(shop, run):
    fit = lambda samples, pool: swap.fit((SampleRows(s) for s in samples), Swap(pool=pool), context("c", shop.store))
    small, doubled = fit(run, 3), fit(list(itertools.chain(run, run, run)), 3)
    assert len(small.value.others) == 3
    assert (small.key, small.value.others) == (doubled.key, doubled.value.others)
    assert fit(run, 4).key != small.key


def test_the_nearest_in_a_models_eyes_differs_by_a_pixel(shop, run, runner, eyes):
    twin = Image.open(io.BytesIO(BUSY[5]))
    twin.putpixel((0, 0), (0, 0, 0))
    near = shop.asked(image_file(twin, "PNG"))
    kind = Swap(by="embedding", model="eyes")
    pool = swap.fit((SampleRows(s) for s in [*run, near]), kind, context("c", shop.store)).value
    of = context("c", shop.store, engines={"eyes": eyes})

    async def nearest(asked):
        return await pool.instead(asked.media[0], "image", kind, asked, of)

    async def both():
        return await asyncio.gather(nearest(run[5]), nearest(near))

    assert runner.run(both()) == [near.media[0], run[5].media[0]]
    assert eyes.requests == 9 + 2  # the pool's pictures once, and each sample's own
