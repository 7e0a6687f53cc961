"""LanceDB, which accepts only OpenAI's names of models."""

import lancedb
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector


def test_table_has_the_golden_vectors_and_finds_the_text_itself(url, golden, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    embed = get_registry().get("openai").create(name="text-embedding-3-small", dim=384, base_url=url)

    class Row(LanceModel):
        text: str = embed.SourceField()
        vector: Vector(384) = embed.VectorField()

    table = lancedb.connect(tmp_path).create_table("texts", schema=Row)
    table.add([{"text": text} for text in golden.texts])
    rows = table.to_arrow().to_pydict()
    assert rows["text"] == golden.texts
    golden.check(rows["vector"])
    assert [table.search(text).limit(1).to_pydantic(Row)[0].text for text in golden.texts[:10]] == golden.texts[:10]
