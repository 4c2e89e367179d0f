// Makes recordings of spoken questions, and says where the speech in each of them ends.
// node clips.mjs IN.wav OUT.wav SNR SEED   IN: 16 kHz, one channel, 16 bits, as halo writes it; SNR in dB, or "clean"
// Half a second of what is around comes before the question, and nothing after it: who plays it goes on with silence, and
// with the same noise for the time of "after" below. Prints the end of speech in ms: the last sample above 1 % of the peak.
import { readFileSync, writeFileSync } from 'node:fs'

const [, , input, output, snr, seed] = process.argv
const rate = 16000
const before = rate / 2
const after = rate * 2
const bytes = readFileSync(input)
const speech = new Int16Array(bytes.buffer.slice(bytes.byteOffset + 44, bytes.byteOffset + bytes.length))
let peak = 0
let power = 0
for (const x of speech) {
  peak = Math.max(peak, Math.abs(x))
  power += x * x
}
let end = speech.length
while (end > 0 && Math.abs(speech[end - 1]) <= peak / 100) --end

// White noise, the same for the same seed.
let state = Number(seed) * 2654435761 + 1
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return (state + 1) / 4294967297
}
const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random())
const level = snr === 'clean' ? 0 : Math.sqrt(power / speech.length) * 10 ** (-Number(snr) / 20)
const out = Buffer.alloc(44 + 2 * (before + end + after))
bytes.copy(out, 0, 0, 44)
out.writeUInt32LE(out.length - 8, 4)
out.writeUInt32LE(out.length - 44, 40)
for (let i = 0; i < before + end + after; ++i) {
  const x = i >= before && i < before + end ? speech[i - before] : 0
  out.writeInt16LE(Math.max(-32768, Math.min(32767, Math.round(x + level * normal()))), 44 + 2 * i)
}
writeFileSync(output, out)
console.log(((before + end) * 1000) / rate)
