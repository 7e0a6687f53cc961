// The official JavaScript client, which requests base64 by default.

import assert from 'node:assert/strict'
import test from 'node:test'

import OpenAI from 'openai'

import { check, MODEL, texts, url } from '../golden.mjs'

const client = new OpenAI({ baseURL: url, apiKey: 'none' })

async function embed(options) {
  const { data } = await client.embeddings.create({ model: MODEL, input: texts, ...options })
  return data.map((row) => row.embedding)
}

test('the default and floats give the same golden vectors', async () => {
  const [base64, floats] = [await embed({}), await embed({ encoding_format: 'float' })]
  check(base64, texts)
  const rounded = floats.map((vector) => Array.from(Float32Array.from(vector)))
  assert.deepEqual(base64, rounded)
})

test('fewer dimensions give the first ones at unit length', async () => {
  check(await embed({ dimensions: 128 }), texts, 128)
})

test('another output type needs an explicit encoding, because the default would be decoded as floats', async () => {
  await assert.rejects(embed({ output_dtype: 'int8' }), { status: 400, param: 'encoding_format' })
  const [vector] = await embed({ output_dtype: 'int8', encoding_format: 'float' })
  assert.ok(vector.length === 384 && vector.every(Number.isInteger))
})

test('models are listed and described', async () => {
  const { data } = await client.models.list()
  assert.ok(data.some(({ id }) => id === MODEL))
  assert.ok(data.some(({ id }) => id === 'text-embedding-ada-002'))
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL)
})
