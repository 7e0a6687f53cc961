// Vercel's AI SDK, which requests floats, for up to 2048 values in one request.

import assert from 'node:assert/strict'
import test from 'node:test'

import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embed, embedMany } from 'ai'

import { check, MODEL, texts, url } from '../golden.mjs'

let requests = 0
const { fetch } = globalThis
globalThis.fetch = (...request) => {
  requests += 1
  return fetch(...request)
}
const model = createOpenAICompatible({ name: 'embeddings', baseURL: url }).embeddingModel(MODEL)
const values = Array.from({ length: 2048 }, (_, index) => texts[index % 20])

test.beforeEach(() => {
  requests = 0
})

test('one value and many give the same golden vectors', async () => {
  const { embeddings } = await embedMany({ model, values: texts })
  check(embeddings, texts)
  assert.deepEqual((await embed({ model, value: texts[0] })).embedding, embeddings[0])
})

test('2048 values of 128 dimensions are one request', async () => {
  const providerOptions = { embeddings: { dimensions: 128 } }
  const { embeddings } = await embedMany({ model, values, providerOptions })
  check(embeddings, values, 128)
  assert.equal(requests, 1)
})

test('2048 values of all dimensions are one request, whose response is compressed', async () => {
  const { embeddings } = await embedMany({ model, values })
  check(embeddings, values)
  assert.equal(requests, 1)
})
