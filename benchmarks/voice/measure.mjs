// node measure.mjs SILENCE <EVENTS: of halo voice --json --realtime, what came when after the end of speech and the silence
// that ends a turn, in ms. Beside each recording FILE there is FILE.end, where its speech ends.
import { readFileSync } from 'node:fs'

const silence = Number(process.argv[2])
const files = new Map()
for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const event = JSON.parse(line)
  if (!files.has(event.file)) files.set(event.file, [])
  files.get(event.file).push(event)
}
const turns = []
let errors = 0
for (const [file, events] of files) {
  const due = Number(readFileSync(`${file}.end`, 'utf8')) + silence
  errors += events.filter((e) => e.event === 'error').length
  // A question may come as two turns, where its speaker seemed to have ended: the answer to the last counts.
  const last = Math.max(...events.map((e) => e.turn))  // the answer before may still be interrupted in this file
  const of = events.filter((e) => e.turn === last)
  const first = (kind, when) => {
    const found = of.find((e) => e.event === kind)
    return found ? found[when] - due : null
  }
  turns.push({
    file: file.replace(/.*\//, ''),
    turns: events.filter((e) => e.event === 'speech_started').length,
    heard: of.find((e) => e.event === 'final')?.text ?? '',
    sentences: of.filter((e) => e.event === 'sentence').length,
    speech_end_ms: first('speech_stopped', 'ms'),
    final_ms: first('final', 'ms'),
    first_token_ms: first('text', 'made_ms'),
    first_sentence_ms: first('sentence', 'made_ms'),
    first_audio_ms: first('audio', 'ms'),
    speech_s: of.filter((e) => e.event === 'audio').reduce((sum, e) => sum + e.samples, 0) / 16000,
  })
}
const quantiles = (name) => {
  const values = turns
    .map((t) => t[name])
    .filter((x) => x !== null)
    .sort((a, b) => a - b)
  const at = (p) => (values.length ? values[Math.min(values.length - 1, Math.floor(values.length * p))] : null)
  return { p50: at(0.5), p95: at(0.95), most: at(1) }
}
const answered = turns.filter((t) => t.first_audio_ms !== null)
console.log(
  JSON.stringify({
    questions: turns.length,
    answered: answered.length,
    errors,
    split: turns.filter((t) => t.turns > 1).length,
    sentences: answered.reduce((sum, t) => sum + t.sentences, 0) / Math.max(1, answered.length),
    speech_end_ms: quantiles('speech_end_ms'),
    final_ms: quantiles('final_ms'),
    first_token_ms: quantiles('first_token_ms'),
    first_sentence_ms: quantiles('first_sentence_ms'),
    first_audio_ms: quantiles('first_audio_ms'),
    seen: answered.map((t) => t.first_audio_ms),
    turns,
  }),
)
