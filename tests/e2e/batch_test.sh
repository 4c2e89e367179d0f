#!/usr/bin/env bash
# `halo batch`: OpenAI's Batch lines, each answered or refused in its place, whatever happens in between.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"

line() { jq -nc --arg id "$1" --arg url "$2" --argjson body "$3" '{custom_id: $id, method: "POST", url: $url, body: $body}'; }
chat() { line "$1" /v1/chat/completions "{\"messages\": [{\"role\": \"user\", \"content\": \"$2\"}], \"temperature\": 0, \"max_tokens\": 12}"; }
# What must be the same in two runs: all but times and what was remembered.
stable() { jq -c 'del(.response.body | .timings, .created, .usage.prompt_tokens_details)' "$1"; }

# Answers stand in the order of the requests, whichever ends first, and a line that is none has its error.
{
  line long /v1/completions '{"prompt": "Once upon a time", "max_tokens": 60, "temperature": 0, "ignore_eos": true}'
  chat one 'What is the capital of France?'
  echo
  echo 'no JSON'
  echo '[1]'
  echo '{"custom_id": 5, "method": "POST", "url": "/v1/completions", "body": {}}'
  chat one 'What is the capital of France?'
  line get /v1/completions '{"prompt": "x"}' | sed 's/POST/GET/'
  line where /v1/files '{"prompt": "x"}'
  line field /v1/completions '{"prompt": "x", "temperature": -1}'
  line stream /v1/completions '{"prompt": "x", "stream": true}'
  line model /v1/completions '{"prompt": "x", "model": "another"}'
  line several /v1/completions '{"prompt": ["a", "b"], "n": 2, "max_tokens": 3, "seed": 1, "logprobs": 1, "echo": true}'
  line vectors /v1/embeddings '{"input": ["Paris", "Rome"]}'
  line packed /v1/embeddings '{"input": "Paris", "encoding_format": "base64"}'
  line response /v1/responses '{"input": "What is the capital of France?", "temperature": 0}'
  line none /v1/embeddings '{"input": []}'
  echo '{"custom_id": "deep", "method": "POST", "url": "/v1/completions", "body": '"$(printf '[%.0s' {1..5000})"
  printf '{"custom_id": "no line end", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x", "max_tokens": 1}}'
} >"$work/in"
halo batch "$work/in" -o "$work/answers"
expect_status 0
expect_no_out
expect_err '^7 answered, 11 refused, [0-9]+ tokens in '
cp "$work/answers" "$out"
expect_same "$(jq -c .custom_id "$out" | paste -sd ' ')" \
  '"long" "one" null null null "one" "get" "where" "field" "stream" "model" "several" "vectors" "packed" "response" "none" null "no line end"'
expect_json -s 'map(.response.status_code) == [200, 200, null, null, null, null, null, null, 400, 400, 404, 200, 200, 200, 200, 400, null, 200]'
expect_json -s 'all(.[]; (.error == null) == (.response != null)) and (map(.id) | unique | length == 18)'
expect_json -s '.[1].response.body | .choices[0].message.content == "The capital of France is Paris." and .object == "chat.completion"'
expect_json -s '.[0].response.body | .usage.completion_tokens == 60 and .object == "text_completion"'
expect_json -s '.[5].error | .code == "invalid_line" and (.message | test("^line 7: custom_id is that of an earlier line"))'
expect_json -s '.[8].response.body.error | .param == "temperature" and .type == "invalid_request_error"'
expect_json -s '.[11].response.body.choices | length == 4 and all(.[]; (.logprobs.tokens | length) == (.logprobs.token_logprobs | length))'

expect_json -s '.[12].response.body | .object == "list" and (.data | length) == 2 and (.data[0].embedding | length) > 100'
expect_json -s '.[13].response.body.data[0].embedding | type == "string"'
expect_json -s '.[14].response.body | .object == "response" and .output[0].content[0].text == "The capital of France is Paris."'

# The same answers as the server's other words: halo run.
halo run -n 60 --ignore-eos --temp 0 'Once upon a time'
expect_same "$(cat "$out")" "$(jq -rs '.[0].response.body.choices[0].text' "$work/answers")"

# Nothing is left to do: nothing is done. Another input's answers are not added to.
cp "$work/answers" "$work/before"
halo batch "$work/in" -o "$work/answers"
expect_status 0
expect_err '^18 were there, 0 answered, 0 refused'
cmp "$work/before" "$work/answers"
chat other x >"$work/other"
halo batch "$work/other" -o "$work/answers"
expect_refusal 'line 1 does not answer the input'
cmp "$work/before" "$work/answers"
halo batch "$work/in" -o "$work/in"
expect_refusal 'is the input, too'
halo batch "$work/in" -o "$work/answers" --model-name renamed
expect_refusal 'line 1 was answered by another model'
halo batch "$work/nowhere" -o "$work/new"
expect_refusal 'cannot open'
halo batch "$work" -o "$work/new"
expect_refusal 'it is a folder'

# Names of models: the file's, one that is given, or any.
line a /v1/completions '{"prompt": "x", "max_tokens": 1, "model": "another"}' >"$work/named"
for option in '--any-model' '--model-name another'; do
  # shellcheck disable=SC2086  # two words
  halo batch - $option -o "$work/named.$option" <"$work/named"
  expect_status 0
  expect_err '^1 answered, 0 refused'
done
expect_same "$(jq -r .response.body.model "$work/named.--model-name another")" another

# Killed at any moment, and begun again: no line is lost, none is twice, and the answers are those of one run.
for i in $(seq 40); do
  line "n$i" /v1/completions "{\"prompt\": \"Number $i\", \"max_tokens\": 80, \"temperature\": 0, \"ignore_eos\": true}"
  [ $((i % 9)) -ne 0 ] || echo "bad $i"
done >"$work/many"
halo batch "$work/many" -o "$work/once"
expect_status 0
kills=0
for moment in 0.3 0.5 0.2 0.7 0.4 0.6; do
  "${halo_command[@]}" batch "$work/many" --parallel 4 -o "$work/killed" 2>"$err" &
  pid=$!
  sleep "$moment"
  kill -KILL $pid 2>"$work/gone" && kills=$((kills + 1))
  wait $pid 2>"$work/gone" || true
done
[ $kills -gt 0 ] || wrong 'it was never killed'
if [ -s "$work/killed" ]; then  # a line that was being written
  truncate -s -5 "$work/killed"
fi
halo batch "$work/many" -o "$work/killed"
expect_status 0
expect_same "$(stable "$work/killed")" "$(stable "$work/once")"

# Ctrl-C ends it in order, and the same command goes on.
"${halo_command[@]}" batch "$work/many" --parallel 2 -o "$work/stopped" 2>"$err" &
pid=$!
sleep 0.6
kill -INT $pid 2>"$work/gone" || true
wait $pid 2>"$work/gone" || true
halo batch "$work/many" -o "$work/stopped"
expect_status 0
expect_same "$(stable "$work/stopped")" "$(stable "$work/once")"

# A disk that is full: one sentence, and what was written stays good to go on from.
halo batch "$work/many" -o /dev/full
expect_status 1
expect_err '/dev/full: cannot write: No space left on device'
(
  trap '' XFSZ
  ulimit -f 8  # of 1024 bytes
  halo batch "$work/many" -o "$work/full"
  expect_status 1
  expect_err 'cannot write: File too large'
)
halo batch "$work/many" -o "$work/full"
expect_status 0
expect_same "$(stable "$work/full")" "$(stable "$work/once")"

# Answers are to a line as it was, and have one writer.
sed 's/"max_tokens": *[0-9]*/"max_tokens": 3/' "$work/many" >"$work/changed"
halo batch "$work/changed" -o "$work/once"
expect_status 1
expect_err 'line 1 does not answer the input'
echo '{"id": 7, "custom_id": "'"$(head -n 1 "$work/many" | jq -r .custom_id)"'"}' >"$work/strange"
halo batch "$work/many" -o "$work/strange"
expect_status 1
expect_err 'line 1 does not answer the input'
"${halo_command[@]}" batch "$work/many" -o "$work/twice" 2>"$work/first" &
pid=$!
until [ -e "$work/twice" ]; do sleep 0.01; done
halo batch "$work/many" -o "$work/twice"
[ "$status" -eq 0 ] || expect_err 'another run writes its answers there'
wait $pid || [ "$status" -eq 0 ]
expect_same "$(stable "$work/twice")" "$(stable "$work/once")"

# It says how far it is.
for i in $(seq 30); do
  line "p$i" /v1/completions '{"prompt": "Once", "max_tokens": 150, "temperature": 0, "ignore_eos": true}'
done >"$work/slow"
halo batch "$work/slow" --parallel 1 -o "$work/progress"
expect_status 0
expect_err '^[0-9]+ answers, [0-9]+ under way, [0-9]+ tok/s$'
