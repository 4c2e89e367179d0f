#!/usr/bin/env bash
# Models by name, and --json wherever a script would want it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
bundled=$source_dir/models/tiny-bitnet.h1b
mkdir -p "$work/a" "$work/data/1bit/models"
halo synth tiny --layers 1 --hidden 32 --heads 1 --kv-heads 1 --head-dim 32 --ffn 32 --vocabulary 300 --context 64 \
  --tokenizer-from "$bundled" -o "$work/a/small.h1b"
expect_status 0
cp "$work/a/small.h1b" "$work/data/1bit/models/other.h1b"
echo 'no model' >"$work/a/broken.h1b"
export HALO_MODELS=$work/nowhere:$work/a XDG_DATA_HOME=$work/data XDG_DATA_DIRS=$work/none

halo list --names
expect_status 0
expect_same "$(grep -vxE 'tiny-(bitnet|sherry)' "$out" | tr '\n' ' ')" 'broken other small '
halo list
expect_status 0
expect_out '^small .*/a/small\.h1b$'
expect_out '^broken +unreadable'
halo list --json
expect_json 'map(select(.name == "small")) | .[0].bytes > 0'
expect_json 'map(select(.name == "broken")) | .[0].error | test("magic")'

halo run -m small -n 2 Hello
expect_status 0
halo inspect --json other
expect_json '.config.layers == 1'
halo run -m smal Hello
expect_refusal "smal: no file and no model of this name; did you mean 'small'\?"
HALO_MODEL=small halo verify --json
expect_json '.sound and .tensors == 14'
halo verify --json broken
expect_refusal 'broken\.h1b: '
halo tokenize -m "$bundled" --json 'Hello world'
expect_json '.count == (.ids | length) and .count > 0'
halo chat -m "$bundled" --json 'What is the capital of France?'
expect_json '.text == "The capital of France is Paris." and .finish_reason == "stop"'
