// Files and batches with the official JavaScript client, and redirects, which must not carry the key to another host.

import assert from 'node:assert/strict'
import { mkdtempSync, createReadStream, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout } from 'node:timers/promises'

import OpenAI, { toFile } from 'openai'

import { check, MODEL, texts, url } from '../golden.mjs'

const client = new OpenAI({ baseURL: url, apiKey: 'none' })

function line(custom_id, input, options) {
  const body = { model: MODEL, input, ...options }
  return JSON.stringify({ custom_id, method: 'POST', url: '/v1/embeddings', body })
}

async function run(file) {
  const options = { input_file_id: file.id, endpoint: '/v1/embeddings', completion_window: '24h' }
  let batch = await client.batches.create(options)
  while (batch.status === 'validating' || batch.status === 'in_progress' || batch.status === 'finalizing') {
    await setTimeout(200)
    batch = await client.batches.retrieve(batch.id)
  }
  return batch
}

async function read(id) {
  const content = await (await client.files.content(id)).text()
  return content.trimEnd().split('\n').map((each) => JSON.parse(each))
}

test('a batch gives the vectors of the API', async () => {
  const lines = [line('floats', texts), line('base64', texts, { encoding_format: 'base64' }), line('bad', [''])]
  const path = join(mkdtempSync(join(tmpdir(), 'batch-')), 'in.jsonl')
  writeFileSync(path, lines.join('\n'))
  const file = await client.files.create({ file: createReadStream(path), purpose: 'batch' })
  const batch = await run(await client.files.waitForProcessing(file.id))
  assert.deepEqual([batch.status, batch.request_counts], ['completed', { total: 3, completed: 2, failed: 1 }])
  const output = Object.fromEntries((await read(batch.output_file_id)).map((each) => [each.custom_id, each]))
  const [floats, base64] = ['floats', 'base64'].map((id) => output[id].response.body.data.map((each) => each.embedding))
  check(floats, texts)
  const { data } = await client.embeddings.create({ model: MODEL, input: texts, encoding_format: 'base64' })
  assert.deepEqual(base64, data.map((each) => each.embedding))
  const [error] = await read(batch.error_file_id)
  assert.deepEqual([error.custom_id, error.response.status_code, error.error], ['bad', 400, null])
})

test('an upload in parts becomes a file', async () => {
  const content = Buffer.from(line('a', 'x'))
  const upload = await client.uploads.create({
    bytes: content.length, filename: 'in.jsonl', mime_type: 'application/jsonl', purpose: 'batch',
  })
  const parts = []
  for (const data of [content.subarray(0, 20), content.subarray(20)]) {
    parts.push(await client.uploads.parts.create(upload.id, { data: await toFile(data, 'part') }))
  }
  const { file } = await client.uploads.complete(upload.id, { part_ids: parts.map((part) => part.id) })
  assert.equal((await (await client.files.content(file.id)).text()), content.toString())
})

test('files and batches are listed page by page', async () => {
  const files = []
  for (const name of ['1.jsonl', '2.jsonl', '3.jsonl']) {
    files.push(await client.files.create({ file: await toFile(Buffer.from(line('a', 'x')), name), purpose: 'batch' }))
  }
  const ids = []
  for await (const file of client.files.list({ limit: 2 })) ids.push(file.id)
  for (const { id } of files) assert.ok(ids.includes(id))
  const batch = await run(files[0])
  const batches = []
  for await (const each of client.batches.list({ limit: 1 })) batches.push(each.id)
  assert.ok(batches.includes(batch.id))
  await client.files.delete(files[0].id)
  await assert.rejects(client.files.retrieve(files[0].id), OpenAI.NotFoundError)
})

test('a redirect is followed without the key', async () => {
  const keys = []
  const serve = async (respond) => {
    const server = createServer((request, response) => { keys.push(request.headers.authorization); respond(response) })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    return [server, `http://127.0.0.1:${server.address().port}`]
  }
  const [bucket, place] = await serve((response) => response.end('lines'))
  const [api, base] = await serve((response) => response.writeHead(302, { location: `${place}/file` }).end())
  const redirected = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'secret' })
  assert.equal(await (await redirected.files.content('file-1')).text(), 'lines')
  assert.deepEqual(keys, ['Bearer secret', undefined])
  for (const server of [bucket, api]) { server.closeAllConnections(); server.close() }
})
