// LlamaIndex.TS

import assert from 'node:assert/strict'
import test from 'node:test'

import { OpenAIEmbedding } from '@llamaindex/openai'
import { Document, Settings, VectorStoreIndex } from 'llamaindex'

import { check, MODEL, texts, url } from '../golden.mjs'

const embedding = new OpenAIEmbedding({ model: MODEL, baseURL: url, apiKey: 'none' })

test('one text and many give the same golden vectors', async () => {
  const vectors = await embedding.getTextEmbeddings(texts)
  check(vectors, texts)
  assert.deepEqual(await embedding.getTextEmbedding(texts[0]), vectors[0])
})

test('an index finds the text itself', async () => {
  Settings.embedModel = embedding
  const index = await VectorStoreIndex.fromDocuments(texts.slice(0, 10).map((text) => new Document({ text })))
  const [found] = await index.asRetriever({ similarityTopK: 1 }).retrieve({ query: texts[4] })
  assert.equal(found.node.getText(), texts[4])
})
