// What the JavaScript tests share: the service's URL, and the golden texts with their vectors.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

export const model = 'all-MiniLM-L6-v2'
export const baseURL = process.env.EMBEDDINGS_URL
const rows = JSON.parse(readFileSync(process.env.GOLDEN, 'utf8')).data
export const texts = rows.map((row) => row.text)
const vectors = rows.map(({ embedding }) => {
  const bytes = Uint8Array.from(atob(embedding), (character) => character.charCodeAt(0))
  return new Float32Array(bytes.buffer)
})

const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0)
const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))

/** The answers are unit vectors near the golden ones (or their first dimensions), each for its text. */
export function check(answers, asked, dimensions = 384) {
  assert.equal(answers.length, asked.length)
  const cosines = answers.map((answer, index) => {
    assert.equal(answer.length, dimensions)
    assert.ok(Math.abs(dot(answer, answer) - 1) < 1e-5)
    return cosine(answer, vectors[texts.indexOf(asked[index])].subarray(0, dimensions))
  })
  assert.ok(Math.min(...cosines) > 0.96, `the lowest cosine is ${Math.min(...cosines)}`)
  const mean = cosines.reduce((sum, value) => sum + value) / cosines.length
  assert.ok(mean > 0.995, `the mean cosine is ${mean}`)
}
