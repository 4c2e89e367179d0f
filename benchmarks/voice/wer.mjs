// node wer.mjs: lines of JSON {"said": …, "got": …} on standard input; prints {"words", "errors", "rate"}.
import { readFileSync } from 'node:fs'

const words = (text) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9' ]/g, ' ')
    .split(/\s+/)
    .filter(Boolean)
let all = 0
let errors = 0
for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const { said, got } = JSON.parse(line)
  const a = words(said)
  const b = words(got)
  let row = b.map((_, j) => j)
  row.push(b.length)
  a.forEach((word, i) => {
    const next = [i + 1]
    for (let j = 0; j < b.length; ++j) next.push(Math.min(row[j] + (word === b[j] ? 0 : 1), row[j + 1] + 1, next[j] + 1))
    row = next
  })
  all += a.length
  errors += row[b.length]
}
console.log(JSON.stringify({ words: all, errors, rate: errors / all }))
