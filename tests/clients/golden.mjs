// Shared by the JavaScript tests: the service's URL, and the golden texts with their vectors.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

export const MODEL = 'all-MiniLM-L6-v2'
export const url = process.env.EMBEDDINGS_URL
const rows = JSON.parse(readFileSync(process.env.GOLDEN, 'utf8')).data
export const texts = rows.map((row) => row.text)
const vectors = rows.map(({ embedding }) => {
  const bytes = Uint8Array.from(atob(embedding), (character) => character.charCodeAt(0))
  return new Float32Array(bytes.buffer)
})

const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0)
const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))

/** Checks that embeddings are unit vectors close to the golden vectors of their texts (or to their first dimensions). */
export function check(embeddings, inputs, dimensions = 384) {
  assert.equal(embeddings.length, inputs.length)
  const cosines = embeddings.map((embedding, index) => {
    assert.equal(embedding.length, dimensions)
    assert.ok(Math.abs(dot(embedding, embedding) - 1) < 1e-5)
    return cosine(embedding, vectors[texts.indexOf(inputs[index])].subarray(0, dimensions))
  })
  assert.ok(Math.min(...cosines) > 0.96, `the lowest cosine is ${Math.min(...cosines)}`)
  const mean = cosines.reduce((sum, value) => sum + value) / cosines.length
  assert.ok(mean > 0.995, `the mean cosine is ${mean}`)
}
