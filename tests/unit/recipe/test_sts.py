import gzip

import numpy as np
import pytest

from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.sts import Pairs, RetrievalSet, read_sts, recall, retrieval_set

LEFT = ["the food was good", "a b c", "z", "foods ."]


@pytest.fixture
def sts(tmp_path):
    path = tmp_path / "sts.tsv.gz"
    rows = [f"{score}\t{left}\t{right}" for score, left, right in zip("1234", LEFT, reversed(LEFT), strict=True)]
    path.write_bytes(gzip.compress("\n".join(["score\tsentence1\tsentence2", *rows, ""]).encode()))
    return path


def test_read_sts_parses_the_published_format(sts):
    pairs = read_sts(sts)
    assert (pairs.left[0], pairs.right[0]) == (LEFT[0], LEFT[-1])
    np.testing.assert_array_equal(pairs.scores, [1, 2, 3, 4])


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"score\tsentence1\tsentence2\n",
        gzip.compress(b"score\tsentence1\n1\ta\n"),
        gzip.compress(b"score\tsentence1\tsentence2\nhigh\ta\tb\n"),
        gzip.compress(b"score\tsentence1\tsentence2\n\xff\ta\tb\n"),
        gzip.compress(b"score\tsentence1\tsentence2\n1\ta\tb\n")[:-9],
    ],
    ids=["missing", "not gzipped", "no column", "no number", "not UTF-8", "cut off"],
)
def test_read_sts_rejects_any_other_file_in_one_line(tmp_path, content):
    path = tmp_path / "sts.tsv.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=f"^STS={path} is not a split of STS-B, a gzipped table of ") as refused:
        read_sts(path)
    assert "\n" not in str(refused.value)


def test_retrieval_set_has_each_text_once_and_the_similar_pairs_as_relevant():
    pairs = Pairs(["q", "r", "q", "s", "q"], ["a", "b", "c", "a", "d"], np.array([3, 2.9, 5, 4, 1]))
    texts = retrieval_set(pairs)
    rows = pairs.left + pairs.right
    documents = [rows[row] for row in texts.documents]
    assert sorted(documents) == ["a", "b", "c", "d"]
    assert [rows[row] for row in texts.queries] == ["q", "s"]
    assert [{documents[position] for position in found} for found in texts.relevant] == [{"a", "c"}, {"a"}]


def test_recall_is_the_mean_share_of_relevant_documents_among_the_first_ten():
    angles = np.linspace(0, 1.5, 20)  # of the documents to the query: the nearest first
    vectors = np.column_stack([np.cos([0, *angles]), np.sin([0, *angles])])
    documents = list(range(1, 21))
    assert recall(vectors, RetrievalSet([0], documents, [[0, 9, 10, 19]])) == 0.5
    assert recall(vectors, RetrievalSet([0, 0], documents, [[9], [10]])) == 0.5
    assert recall(7 * vectors, RetrievalSet([0], documents, [[9]])) == 1


def test_documents_of_equal_cosine_share_their_places():
    vectors = np.array([[1.0, 0]] + 8 * [[1, 0.1]] + 4 * [[1, 1]])
    texts = RetrievalSet([0], list(range(1, 13)), [[8]])
    assert recall(vectors, texts) == 0.5  # two places for four documents
