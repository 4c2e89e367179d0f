#!/usr/bin/env bash
# From mouth to ear: spoken questions (flite's voices, several speeds, several levels of noise) through halo voice at the
# pace of speech; from the last sample of speech to the first sample of the answer's, without the silence that ends a turn.
# The streaming loop and the serial one, with the bundled model and with the 2B shape that says a fixed text as fast as it
# computes. And the word error rate. Needs node. QUESTIONS=N: only the first N. ONLY=bundled, 2b or wer: only that.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
here=$root/benchmarks/voice
silence=${SILENCE:-600}
metrics='def of($model; $loop): .loops[] | select(.model == $model and .loop == $loop);
  def wer($voice; $noise): .word_errors[] | select(.voice == $voice and .noise == $noise) | .rate;
  [(of("bundled"; "streaming") | metric("first_audio"; .first_audio_ms.p50; "ms"; .seen), metric("first_audio_p95"; .first_audio_ms.p95; "ms")),
  (of("bundled"; "serial") | metric("first_audio_serial"; .first_audio_ms.p50; "ms"; .seen)),
  (of("2b"; "streaming") | metric("first_audio_2b"; .first_audio_ms.p50; "ms"; .seen), metric("first_audio_2b_p95"; .first_audio_ms.p95; "ms")),
  (of("2b"; "serial") | metric("first_audio_2b_serial"; .first_audio_ms.p50; "ms"; .seen)),
  (.sooner[] | select(.ratio) | metric("sooner_\(.model)"; .ratio; "ratio")),
  (.word_errors[] | metric("word_errors_\(.voice)_\(.noise)" | named; .rate; "fraction"))]'
build_halo
clips=$work/voice
mkdir -p "$clips"
mapfile -t questions < <(head -n "${QUESTIONS:-1000}" "$here/questions.txt")
voices=(slt rms awb kal) speeds=(0.85 1 1.2) noises=(clean 40 30)

# clip NUMBER VOICE SPEED NOISE: the path of a recording, made once; beside it the end of its speech in ms.
clip() {
  local plain=$clips/$1-$2-$3.wav file=$clips/$1-$2-$3-$4.wav
  [ -s "$plain" ] || "$halo" voice --speak "${questions[$1]}" --voice "$2" --speed "$3" --out "$plain"
  [ -s "$file.end" ] || node "$here/clips.mjs" "$plain" "$file" "$4" "$1" >"$file.end"
  echo "$file"
}

# word_errors VOICE NOISE: all questions, at the usual speed.
word_errors() {
  local files=() i file
  for i in "${!questions[@]}"; do files+=("$(clip "$i" "$1" 1 "$2")"); done
  "$halo" voice --transcribe --json --silence "$silence" "${files[@]/#/--in=}" >"$work/voice.jsonl"
  for i in "${!questions[@]}"; do
    file=${files[$i]}
    jq -sc --arg file "$file" --arg said "${questions[$i]}" \
      '{said: $said, got: map(select(.event == "final" and .file == $file) | .text // "") | join(" ")}' "$work/voice.jsonl"
  done | node "$here/wer.mjs" | jq -c --arg voice "$1" --arg noise "$2" '{voice: $voice, noise: $noise} + .'
}

# loop MODEL-NAME LOOP OPTION…: every question at the pace of speech.
loop() {
  local model=$1 kind=$2
  shift 2
  "$halo" voice --json --realtime --alone --seed 1 --silence "$silence" --out /dev/null "$@" "${spoken[@]/#/--in=}" |
    node "$here/measure.mjs" "$silence" | jq -c --arg model "$model" --arg loop "$kind" '{model: $model, loop: $loop} + .'
}

spoken=()
for i in "${!questions[@]}"; do
  spoken+=("$(clip "$i" "${voices[i % 4]}" "${speeds[i / 4 % 3]}" "${noises[(i + i / 4) % 3]}")")
done
bundled=$root/models/tiny-bitnet.h1b
big=
if [ "${ONLY-2b}" = 2b ]; then big=$(model t1_6); fi
{
  if [ "${ONLY-wer}" = wer ]; then
    for voice in "${voices[@]}"; do word_errors "$voice" clean; done
    for noise in 40 30 20; do
      word_errors slt $noise
      word_errors rms $noise
    done
  fi
  if [ "${ONLY-bundled}" = bundled ]; then
    loop bundled streaming -m "$bundled"
    loop bundled serial -m "$bundled" --serial
  fi
  if [ -n "$big" ]; then
    loop 2b streaming -m "$big" --answer-text "$here/answer.txt"
    loop 2b serial -m "$big" --answer-text "$here/answer.txt" --serial
  fi
} >"$work/voice-parts.jsonl"
jq -s --argjson silence "$silence" 'def median: sort | .[length / 2 | floor];
  map(select(.loop)) as $loops | {silence_ms: $silence, word_errors: map(select(.voice)), loops: $loops,
  # Where the answer has three sentences or more; what comes within a frame of 20 ms counts as one.
  sooner: [$loops | group_by(.model)[] | (map(select(.loop == "streaming"))[0].turns // []) as $a
    | (map(select(.loop == "serial"))[0].turns // []) as $b
    | {model: .[0].model, pairs: [$a[] | select(.first_audio_ms and .sentences >= 3) | . as $turn
        | $b[] | select(.file == $turn.file and .first_audio_ms) | .first_audio_ms / ([$turn.first_audio_ms, 20] | max)]}
    | {model, answers: (.pairs | length), ratio: (if .pairs == [] then null else .pairs | median end),
       least: (.pairs | min)}]}' "$work/voice-parts.jsonl" >"$work/voice.json"
jq '{silence_ms, word_errors, loops: [.loops[] | del(.turns, .seen)], sooner}' "$work/voice.json" >&2
if [ -n "${ONLY-}" ]; then exit; fi
write_record voice "$metrics" "$bundled" "$big" <"$work/voice.json"
