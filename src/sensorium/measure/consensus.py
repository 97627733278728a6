"""How much texts agree, as dot products of sparse vectors: what most of many texts say, found in linear time."""

from collections.abc import Sequence

import numpy as np

from sensorium.measure.text import words

ORDERS = 4  # sequences of 1 to 4 words
SLOTS = 2**18  # of hashed sequences of each length


class Phrases:
    """Texts -> vectors of their sequences of 1 to 4 words, rare ones weighing more; the dot product of two is 0..1.

    The mean over the four lengths of the cosine of tf-idf vectors: CIDEr (arXiv:1411.5726, sec. 3) without stemming, with
    sequences hashed into SLOTS places. What is rare is learned from `texts`, each a document.
    """

    def __init__(self, texts: Sequence[str]):
        self._rare = []
        for n in range(1, ORDERS + 1):
            often = np.asarray((self._counted(texts, n) > 0).sum(0)).ravel()
            self._rare.append(np.log((1 + len(texts)) / (1 + often)).astype(np.float32))

    @staticmethod
    def _counted(texts: Sequence[str], n: int):
        from sklearn.feature_extraction.text import HashingVectorizer

        made = HashingVectorizer(
            tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(n, n), n_features=SLOTS, norm=None, alternate_sign=False, dtype=np.float32,
        )  # fmt: skip
        return made.transform(texts)

    def __call__(self, texts: Sequence[str]):
        """(n, 4 * SLOTS) sparse float32, of length 1 where a text has sequences of all lengths."""
        from scipy.sparse import hstack
        from sklearn.preprocessing import normalize

        parts = [
            normalize(self._counted(texts, n).multiply(rare).tocsr()) for n, rare in enumerate(self._rare, 1)
        ]
        return hstack(parts, format="csr") * ORDERS**-0.5


def agreement(candidates, others, weight: np.ndarray) -> np.ndarray:
    """(candidates,) how much each agrees with the others on average; `weight` (others,), rows of `Phrases`."""
    share = weight / max(float(weight.sum()), 1e-12)
    middle = others.T @ share
    return np.asarray(candidates @ middle).ravel()
