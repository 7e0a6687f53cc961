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
