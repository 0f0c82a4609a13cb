from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.media.probe import probe_and_store
from pipeline.storage.media_store import FolderStore
from schemas import messages
from schemas.operator import SampleRows
from schemas.records import Media, Part, Sample, candidate, pair, sample


class Shop(NamedTuple):
    """A store, and samples that show what is in it."""

    store: FolderStore

    def media(self, data: bytes) -> Media:
        return probe_and_store(data, "a file", self.store)

    def asked(self, *datas: bytes, **known) -> Sample:
        media = [self.media(data) for data in datas]
        return sample((messages.user(*(Part(m.kind, media=m.id) for m in media), "what is there ?"),), **known)

    def paired(self, asked: Sample, *texts: tuple[str, str]) -> SampleRows:
        """The sample with a pair of each two texts."""
        rows = SampleRows(asked)
        for texts_of in texts:
            good, bad = (candidate(asked.id, "make", text, index=i) for i, text in enumerate(texts_of))
            rows.candidates += [good, bad]
            rows.pairs.append(pair(asked.id, "pair", good, bad, margin=1.0))
        return rows


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(FolderStore(tmp_path))


@pytest.fixture
def eyes(runner, shop) -> Iterator:
    """The tiny model in transformers, which has gradients and vectors."""
    from pipeline.engines import hf

    model = Path(__file__).parents[3] / "data" / "models" / "tiny"
    engine = runner.run(hf.connect(hf.Settings(model=str(model)), shop.store))
    yield engine
    runner.run(engine.close())
