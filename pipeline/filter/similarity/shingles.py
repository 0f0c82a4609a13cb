"""Texts made comparable: what of them is compared, and how alike two are."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from schemas.records import Message

SHINGLE = 5  # characters
PERMUTATIONS, ROWS = 128, 4
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text without case, punctuation and forms of the same letter (NFKC)."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shared_words(messages: Iterable[Message]) -> str:
    """The texts of all messages."""
    return " ".join(p.text for m in messages for p in m.parts if p.text)


def grams(words: list[str], n: int) -> list[int]:
    """The hashes (64 bits) of all runs of n words; none when there are fewer."""
    runs = (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return [int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs]


def signatures(texts: Iterable[str]) -> Iterator[np.ndarray]:
    """MinHash signatures [PERMUTATIONS] uint32 of the texts' runs of SHINGLE characters: the share of places in which two
    agree estimates how many of all runs in either are in both (Jaccard), give or take .04."""
    from datasketch import MinHash

    for found in MinHash.generator(map(_shingles, texts), num_perm=PERMUTATIONS):
        yield found.hashvalues.astype(np.uint32)


def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The estimated likeness, 0..1, of texts by their signatures [n, PERMUTATIONS]."""
    return (a == b).mean(axis=-1)


def keys(signatures: np.ndarray, groups: np.ndarray) -> Iterator[np.ndarray]:
    """Keys of texts that may be alike: ROWS places of the signature agree, and the group. Of texts that are alike by .8, all
    but one in 20 million share one; by .6, all but one in 80."""
    for start in range(0, PERMUTATIONS, ROWS):
        band = np.column_stack([groups.astype(np.uint32), signatures[:, start : start + ROWS]])
        yield np.unique(np.ascontiguousarray(band).view(f"V{band.shape[1] * 4}").ravel(), return_inverse=True)[1]


def _shingles(text: str) -> list[bytes]:
    text = " ".join(words(text)) or text
    return [text[i : i + SHINGLE].encode() for i in range(max(1, len(text) - SHINGLE + 1))]
