// The official JavaScript client's older majors.

import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import test from 'node:test'
import { setTimeout } from 'node:timers/promises'

import OpenAI4 from 'openai-4'
import OpenAI5 from 'openai-5'

import { check, MODEL, texts, url } from '../golden.mjs'

for (const [version, OpenAI] of [[4, OpenAI4], [5, OpenAI5]]) {
  const client = new OpenAI({ baseURL: url, apiKey: 'none' })
  const embed = async (options) => {
    const { data } = await client.embeddings.create({ model: MODEL, input: texts, ...options })
    return data.map((row) => row.embedding)
  }

  test(`version ${version}: the default and floats give the same golden vectors`, async () => {
    const [base64, floats] = [await embed({}), await embed({ encoding_format: 'float' })]
    check(base64, texts)
    assert.deepEqual(base64, floats.map((vector) => Array.from(Float32Array.from(vector))))
  })
}

test('a connection is kept while the client is idle for six seconds', async () => {
  const httpAgent = new Agent({ keepAlive: true })
  const client = new OpenAI4({ baseURL: url, apiKey: 'none', httpAgent, maxRetries: 0 })
  const request = { model: MODEL, input: texts[0] }
  await client.embeddings.create(request)
  const [socket] = Object.values(httpAgent.freeSockets).flat()
  await setTimeout(6000)
  await client.embeddings.create(request)
  assert.ok(Object.values(httpAgent.freeSockets).flat().includes(socket), 'the service closed the connection')
  httpAgent.destroy()
})
