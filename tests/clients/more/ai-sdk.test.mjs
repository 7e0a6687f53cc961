// Version 5 of Vercel's AI SDK, with its OpenAI provider.

import assert from 'node:assert/strict'
import test from 'node:test'

import { createOpenAI } from '@ai-sdk/openai'
import { embed, embedMany } from 'ai'

import { check, MODEL, texts, url } from '../golden.mjs'

const model = createOpenAI({ baseURL: url, apiKey: 'none' }).textEmbeddingModel(MODEL)

test('one value and many give the same golden vectors', async () => {
  const { embeddings } = await embedMany({ model, values: texts })
  check(embeddings, texts)
  assert.deepEqual((await embed({ model, value: texts[0] })).embedding, embeddings[0])
})

test('2048 values, the most that the SDK sends in one request, fit into the response', async () => {
  const values = Array.from({ length: 2048 }, (_, index) => texts[index % 20])
  const { embeddings } = await embedMany({ model, values })
  check(embeddings, values)
})
