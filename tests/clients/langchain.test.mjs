// LangChain.js

import assert from 'node:assert/strict'
import test from 'node:test'

import { OpenAIEmbeddings } from '@langchain/openai'

import { baseURL, check, model, texts } from './golden.mjs'

const embeddings = new OpenAIEmbeddings({ model, apiKey: 'none', configuration: { baseURL } })

test('documents and queries give the same golden vectors', async () => {
  const documents = await embeddings.embedDocuments(texts)
  check(documents, texts)
  assert.deepEqual(await embeddings.embedQuery(texts[0]), documents[0])
})
