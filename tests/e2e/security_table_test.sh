#!/usr/bin/env bash
# The table of hostile inputs in docs/security.md is what the tests count now. Argument: the build folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -n '/^<!-- hostile cases:/,/^<!-- end -->/p' docs/security.md | grep -v '^<!--' >"$work/documented"
scripts/hostile_cases.sh "$1" >"$work/counted"
if ! diff -u "$work/documented" "$work/counted"; then
  echo 'WRONG: put what scripts/hostile_cases.sh prints into docs/security.md, between the comments'
  exit 1
fi
