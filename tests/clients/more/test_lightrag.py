"""LightRAG, whose chat model finds no entities here."""

import asyncio
from functools import partial

import pytest
from lightrag import LightRAG, QueryParam
from lightrag.llm.openai import openai_embed
from lightrag.utils import EmbeddingFunc

from tests.clients.conftest import MODEL


@pytest.fixture
def embed(url: str) -> EmbeddingFunc:
    return EmbeddingFunc(384, partial(openai_embed.func, model=MODEL, base_url=url, api_key="none"))


def test_texts_give_the_golden_vectors(embed, golden):
    golden.check(asyncio.run(embed(golden.texts)))


def test_inserted_text_is_found(embed, golden, tmp_path):
    async def find() -> str:
        rag = LightRAG(working_dir=str(tmp_path), embedding_func=embed, llm_model_func=find_no_entities)
        await rag.initialize_storages()
        await rag.ainsert(golden.texts[:10])
        context = await rag.aquery(golden.texts[4], QueryParam(mode="naive", only_need_context=True, chunk_top_k=1))
        await rag.finalize_storages()
        return context

    context = asyncio.run(find())
    assert golden.texts[4] in context
    assert golden.texts[5] not in context


async def find_no_entities(*_: object, **__: object) -> str:
    return ""
