"""Text similarity: normalised words, word n-grams and MinHash signatures."""

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
    """The words of a text, ignoring case, punctuation and Unicode variants of letters (NFKC)."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def joined_text(messages: Iterable[Message]) -> str:
    """The texts of all messages, joined by spaces."""
    return " ".join(p.text for m in messages for p in m.parts if p.text)


def grams(words: list[str], n: int) -> list[int]:
    """The 64-bit hashes of all word n-grams; empty if there are fewer than n words."""
    runs = (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return [int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs]


def signatures(texts: Iterable[str]) -> Iterator[np.ndarray]:
    """MinHash signatures [PERMUTATIONS] uint32 over character n-grams of SHINGLE characters (Broder 1997): the share of positions in which
    two agree estimates their Jaccard similarity, with a standard error of about .04."""
    from datasketch import MinHash

    for found in MinHash.generator(map(_shingles, texts), num_perm=PERMUTATIONS):
        yield found.hashvalues.astype(np.uint32)


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The estimated Jaccard similarity, 0..1, of texts by their signatures [n, PERMUTATIONS]."""
    return (a == b).mean(axis=-1)


def keys(signatures: np.ndarray, groups: np.ndarray) -> Iterator[np.ndarray]:
    """Keys of possibly similar texts: equal in ROWS positions of the signature, and in the group. All but one in 20 million pairs of texts
    with similarity .8 share a key; with .6, all but one in 80."""
    for start in range(0, PERMUTATIONS, ROWS):
        band = np.column_stack([groups.astype(np.uint32), signatures[:, start : start + ROWS]])
        yield np.unique(np.ascontiguousarray(band).view(f"V{band.shape[1] * 4}").ravel(), return_inverse=True)[1]


def _shingles(text: str) -> list[bytes]:
    text = " ".join(words(text)) or text
    return [text[i : i + SHINGLE].encode() for i in range(max(1, len(text) - SHINGLE + 1))]
