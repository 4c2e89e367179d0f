#!/usr/bin/env bash
# halo voice: speech made, understood and answered, with files and pipes in place of a sound card.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"

halo voice --speak x --out "$work/x.wav"
if grep -q 'built without flite' "$err"; then skip 'halo was built without flite (flite1-dev)'; fi
expect_status 0
halo voice --speak 'What is the capital of France?' --voice rms --out "$work/question.wav"
expect_status 0
[ "$(head -c 4 "$work/question.wav")" = RIFF ] || wrong 'a WAV file was expected'
halo voice --transcribe --in "$work/question.wav"
if grep -q 'built without pocketsphinx\|pocketsphinx needs it' "$err"; then
  skip 'there is no pocketsphinx (libpocketsphinx-dev, pocketsphinx-en-us)'
fi
expect_status 0
expect_out '^what is the capital of france$'

# A question by voice, and the answer by voice, understood in its turn.
halo voice --in "$work/question.wav" --out "$work/answer.wav"
expect_status 0
expect_out '^> what is the capital of france$'
expect_out 'Paris'
halo voice --transcribe --in "$work/answer.wav"
expect_status 0
expect_out 'paris'

# By pipes, and what happened as JSON.
tail -c +45 "$work/question.wav" >"$work/question.raw"
halo voice --in - --out - --json <"$work/question.raw"
expect_status 0
[ "$(stat -c %s "$out")" -gt 30000 ] || wrong 'a second of raw sound was expected'
expect_err '"event":"final".*"text":"what is the capital of france"'
expect_err '"event":"done"'

# Programs in place of a microphone and a loudspeaker.
halo voice --record "cat $work/question.raw" --play "tee $work/played.raw" --json
expect_status 0
[ "$(stat -c %s "$work/played.raw")" -gt 30000 ] || wrong 'the answer should have been played'

# Recordings that say nothing, and what is none.
halo voice --speak '.' --out "$work/nothing.wav"
halo voice --in "$work/nothing.wav" --out "$work/none.wav"
expect_status 0
expect_no_out
head -c 5000 "$work/question.wav" >"$work/short.wav"
halo voice --transcribe --in "$work/short.wav"
expect_refusal 'short.wav: it was cut short: [0-9]* bytes of sound are missing'
halo voice --transcribe --in "$work/question.raw"
expect_refusal 'question.raw: not a WAV file'
halo voice --in "$work/question.wav" --out "$work/answer.wav" --tts espeak-ng --tts-program 'sh -c false'
expect_status 1
expect_err 'sh: failed with status 1'
halo voice --in "$work/question.wav" --stt whisper --stt-url http://127.0.0.1:1
expect_status 1
expect_err '127.0.0.1:1: Connection refused'
halo voice --transcribe --in "$work/question.wav" --stt-dictionary "$work/none.dict"
expect_refusal 'none.dict: not there'
