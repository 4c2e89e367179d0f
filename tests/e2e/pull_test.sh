#!/usr/bin/env bash
# `halo pull`, `halo list` and `halo rm` with a host on this machine: a model that answers, an interruption that costs
# nothing, refusals. Arguments: the program that makes a folder, the one that serves it, halo.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "${@:3}"
make_folder=$1 serve=$2
servers=()
trap 'kill "${servers[@]}" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
"$make_folder" source
rm -f source/README.md
echo '# Tiny' >source/README.md
export HALO_MODELS=$work/models HF_ENDPOINT XDG_DATA_HOME=$work/data XDG_DATA_DIRS=$work/none
unset HF_TOKEN SSL_CERT_FILE

# serve_as FOLDER NAME [PACE]: sets HF_ENDPOINT.
serve_as() {
  rm -f url
  "$serve" "$@" >url 2>/dev/null &
  servers+=($!)
  local i
  for ((i = 0; i < 300; ++i)); do
    [ ! -s url ] || break
    sleep 0.1
  done
  HF_ENDPOINT=$(cat url)
}

# names_in FOLDER: of the models in it and of what else a pull may leave, in order.
names_in() { find "$1" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' '; }

# A model, fetched and converted, answers as the one that is converted by hand.
serve_as source tester/tiny
HF_TOKEN=hf_not_to_be_shown halo pull tester/tiny
expect_status 0
expect_out "^$work/models/tiny\.h1b: 4 layers"
expect_err '^tester/tiny at [0-9a-f]{12}: [0-9.]+ MB$'
[ "$(wc -l <"$err")" -le 2 ] || wrong 'no progress where there is no terminal'
if grep -q hf_not "$out" "$err"; then wrong 'the token should not be shown'; fi
expect_same "$(ls -A models)" tiny.h1b
halo inspect --json tiny
# shellcheck disable=SC2016 # jq's variable
expect_json --arg host "$HF_ENDPOINT" '.provenance | .name == "tester/tiny" and
  (.source | startswith($host + "/tester/tiny, commit ") and test("commit [0-9a-f]{40}$"))'
halo run -m tiny -n 4 --json Hello
expect_status 0
answer=$(jq -c .text "$out")
halo convert source -o by_hand.h1b
halo run -m by_hand.h1b -n 4 --json Hello
expect_same "$(jq -c .text "$out")" "$answer"

halo pull tester/tiny
expect_refusal 'is there already: --replace'
halo pull tester/tiny --as other --json --packing t2
expect_status 0
expect_json '.file | endswith("/models/other.h1b")'
halo pull tester/none
expect_refusal 'tester/none: .*404'
halo pull tester/tiny --revision nowhere --file no.gguf --replace
expect_refusal "has no file 'no\.gguf'"
halo pull tiny
expect_refusal 'expected OWNER/NAME'
halo pull tester/tiny --as ../x
expect_refusal 'is no name for a model'
for name in .h1b ..h1b; do
  halo pull tester/tiny --as $name
  expect_refusal 'is no name for a model'
done
halo pull tester/tiny --as tiny.h1b
expect_refusal 'models/tiny\.h1b: is there already'
echo '{' >layout.json
for layout in nonsense layout.json none.json; do # known before anything is fetched
  halo pull tester/tiny --as x --chat-layout $layout
  expect_refusal "${layout%.json}"
  if grep -q 'is kept in' "$err"; then wrong 'nothing should be fetched'; fi
done
halo pull tester/tiny --as x --endpoint http://127.0.0.1:1x
expect_refusal 'expected a host'
expect_same "$(names_in models)" 'other.h1b tiny.h1b '

# What is kept is listed as kept, until the next pull; what takes no space is not listed.
halo pull tester/tiny --as x.h1b.h1b --keep
expect_status 0
expect_out "^$work/models/x\.h1b: "
halo list
expect_out '^tester/tiny .* \(kept: .*halo rm tester/tiny'
halo list --json
expect_json 'map(select(.name == "tester/tiny")) | .[0] | .kept and .bytes > 0 and (has("unfinished") | not)'
halo pull tester/tiny --as y
expect_status 0
[ ! -e models/.downloads ] || wrong 'not to be kept this time'
halo rm -y x x y
expect_status 0
expect_same "$(cat "$out")" "removed $work/models/x.h1b
removed $work/models/y.h1b"
halo rm -y ''
expect_usage_error 'expected a name'
mkdir -p models/.downloads/tester--left/sub
: >models/.downloads/tester--left/model.safetensors.part
halo list
if grep -q tester/left "$out"; then wrong 'there is nothing of it'; fi
rm -r models/.downloads

# A model file of our own is checked and put there; one that is none is kept out.
mkdir files
cp models/tiny.h1b files/model.h1b
serve_as files tester/file
halo pull tester/file --keep
expect_status 0
[ ! -e models/.downloads ] || wrong 'there is nothing to keep'
halo verify file
expect_status 0
head -c 5000 models/tiny.h1b >files/model.h1b
serve_as files tester/cut
halo pull tester/cut
expect_status 1
expect_err "what was fetched is kept in $work/models/.downloads/tester--cut"
[ ! -e models/cut.h1b ] || wrong 'a damaged model should have no name'

# A kill and then Ctrl-C: what has come stays, the list shows it, the same command goes on.
size=$(stat -c %s source/model.safetensors)
serve_as source tester/slow $((size / 10))
record=models/.downloads/tester--slow/model.safetensors.part.json
last=(pull tester/slow)
there=0
for signal in KILL INT; do
  "${halo_command[@]}" pull tester/slow >"$out" 2>"$err" &
  pid=$!
  for ((i = 0; i < 600; ++i)); do
    if [ "$(jq '.done | add' "$record" 2>/dev/null || echo 0)" -gt "$there" ]; then break; fi
    sleep 0.1
  done
  kill -$signal "$pid"
  status=0
  { wait "$pid" || status=$?; } 2>/dev/null
  there=$(jq '.done | add' "$record")
done
expect_refusal "interrupted: what was fetched is kept in .*/tester--slow, and the same command goes on there"
[ ! -e models/slow.h1b ] || wrong 'no model yet'
halo list
expect_out '^tester/slow .*unfinished'
halo list --json
expect_json 'map(select(.name == "tester/slow")) | .[0] | .unfinished and .bytes > 0'
halo list --names
expect_same "$(grep -c / "$out")" 0
serve_as source tester/slow
halo pull tester/slow
expect_status 0
expect_err 'of which [0-9.]+ MB were here'
halo run -m slow -n 4 --json Hello
expect_same "$(jq -c .text "$out")" "$answer"

# Ctrl-C while it is converted: the program says what stays. It is held up by a pipe that is full.
serve_as source tester/held
mkfifo pipe
exec 7<>pipe
timeout 1 cat /dev/zero >&7 || true
"${halo_command[@]}" pull tester/held >"$out" 2>&7 &
pid=$!
for ((i = 0; i < 300; ++i)); do
  if [ -e models/.downloads/tester--held/model.safetensors ]; then break; fi
  sleep 0.1
done
sleep 0.3
kill -INT $pid
timeout 10 cat pipe 7>&- | tr -d '\0' >"$err" 7>&- &
reader=$!
sleep 0.1
exec 7>&-
status=0
{ wait $pid || status=$?; } 2>/dev/null
wait $reader || true
last=(pull tester/held)
expect_different $status 0
expect_err 'interrupted: what was fetched is kept in .*/tester--held, and the same command goes on there'
[ ! -e models/held.h1b ] || wrong 'no model yet'
halo pull tester/held
expect_status 0
expect_err '([0-9.]+ MB), of which \1 were here'
halo rm -y held

# On a terminal: how fast, how long still; and a question before anything goes.
serve_as source tester/slow $((size / 2))
printf -v typed '%q ' "${halo_command[@]}" pull tester/slow --as seen
script -qec "$typed" /dev/null >"$out" </dev/null
expect_out '%  [0-9.]+ of [0-9.]+ MB  [0-9.]+ MB/s, 0:0[0-9] left  fetching model\.safetensors'
printf -v typed '%q ' "${halo_command[@]}" rm seen
script -qec "$typed" /dev/null <<<n >"$out"
expect_out 'remove .*/seen\.h1b \([0-9.]+ MB\)\? \[y/N\]'
[ -e models/seen.h1b ] || wrong 'it was not to go'
script -qec "$typed" /dev/null <<<y >"$out"
[ ! -e models/seen.h1b ] || wrong 'it was to go'

# rm: asks, or is told; nothing outside the folders of models.
halo rm slow </dev/null
expect_refusal 'slow\.h1b: nobody to ask .*--yes'
halo rm --yes slow tester/cut
expect_status 0
expect_out 'removed .*/models/slow\.h1b'
expect_same "$(ls -A models/.downloads 2>/dev/null)" ''
for name in ../by_hand "$work/by_hand.h1b" nothing tester/none tiny-bitnet; do
  halo rm --yes other "$name"
  expect_refusal ''
done
expect_err 'tiny-bitnet: is .*, outside your own folders'
for name in by_hand.h1b models/other.h1b; do [ -e $name ] || wrong 'nothing should be gone'; done
ln -s "$work/by_hand.h1b" models/link.h1b
halo rm -y link other
expect_status 0
[ -e by_hand.h1b ] || wrong 'a link is removed, not what it leads to'
expect_same "$(names_in models)" 'file.h1b tiny.h1b '
