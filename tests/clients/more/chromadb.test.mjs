// Chroma's JavaScript client, with a server that test_chromadb.py starts.

import assert from 'node:assert/strict'
import test from 'node:test'

import { OpenAIEmbeddingFunction } from '@chroma-core/openai'
import { ChromaClient } from 'chromadb'

import { check, MODEL, texts, url } from '../golden.mjs'

test('a collection has the golden vectors and finds the text itself', async () => {
  const client = new ChromaClient({ host: '127.0.0.1', port: Number(process.env.CHROMA_PORT) })
  const embeddingFunction = new OpenAIEmbeddingFunction({ modelName: MODEL, apiBase: url, apiKey: 'none' })
  const collection = await client.createCollection({ name: 'texts', embeddingFunction })
  const ids = texts.map((_, index) => String(index))
  await collection.add({ ids, documents: texts })
  const { embeddings } = await collection.get({ ids, include: ['embeddings'] })
  check(embeddings, texts)
  const found = await collection.query({ queryTexts: texts.slice(0, 10), nResults: 1 })
  assert.deepEqual(found.ids, ids.slice(0, 10).map((id) => [id]))
})
