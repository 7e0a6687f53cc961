from pathlib import Path

import pytest

from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.origin import Origin, find_origin
from model_artifacts.recipe.source import identify

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\nlanguage: en\n---\ntext", "apache-2.0"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("---\nlicense: other\nlicense_name: a-licence-of-ours\n---\n", "a-licence-of-ours"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlanguage: en\n---\nlicense: mit", "unknown"),
        ("# A model\nlicense: mit", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_licence_is_what_the_model_card_says(tmp_path, card, expected):
    (tmp_path / "README.md").write_text(card)
    assert find_origin(tmp_path) == Origin(license=expected)
    assert find_origin(tmp_path, "cc-by-4.0").license == "cc-by-4.0"


def test_what_nothing_says_is_unknown(tmp_path):
    assert find_origin(tmp_path) == Origin("unknown", "unknown", "unknown")


@pytest.mark.parametrize("card", [b"---\nlicense: [\n---\n", b"---\nlicense: \xff\n---\n", b"---\n- mit\n---\n"])
def test_a_damaged_model_card_is_one_line(tmp_path, card):
    (tmp_path / "README.md").write_bytes(card)
    with pytest.raises(
        SourceError, match=r"README.md: its front matter cannot be read; set LICENSE, such as "
    ) as raised:
        find_origin(tmp_path)
    assert "\n" not in str(raised.value)
    assert find_origin(tmp_path, "mit").license == "mit"


@pytest.mark.parametrize(
    ("repository", "upstream", "name"),
    [("someone--a-model--v2", "someone/a-model--v2", "a-model--v2"), ("bert-base", "bert-base", "bert-base")],
)
def test_a_snapshot_of_the_hubs_cache_has_its_repositorys_name(tmp_path: Path, repository, upstream, name):
    folder = tmp_path / f"hub/models--{repository}/snapshots/{COMMIT}"
    folder.mkdir(parents=True)
    assert find_origin(folder) == Origin(upstream, COMMIT, "unknown")
    assert identify(folder, None) == name
    assert identify(folder, "another") == "another"
