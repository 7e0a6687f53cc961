// LangChain.js

import assert from 'node:assert/strict'
import test from 'node:test'

import { OpenAIEmbeddings } from '@langchain/openai'

import { check, MODEL, texts, url } from '../golden.mjs'

const embeddings = new OpenAIEmbeddings({ model: MODEL, apiKey: 'none', configuration: { baseURL: url } })

test('documents and queries give the same golden vectors', async () => {
  const documents = await embeddings.embedDocuments(texts)
  check(documents, texts)
  assert.deepEqual(await embeddings.embedQuery(texts[0]), documents[0])
})

test('2048 documents are embedded in one request', async () => {
  const documents = Array.from({ length: 2048 }, (_, index) => texts[index % 20])
  const batch = new OpenAIEmbeddings({ model: MODEL, batchSize: 2048, apiKey: 'none', configuration: { baseURL: url } })
  check(await batch.embedDocuments(documents), documents)
})
