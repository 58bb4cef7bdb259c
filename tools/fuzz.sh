#!/usr/bin/env bash
# Runs each fuzz target of the module for the given time, one after the other.
set -euo pipefail
time=${1:-60s}
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r package; do
  grep -hoE '^func Fuzz\w+' "$package"/*_test.go | awk '{print $2}' | while read -r target; do
    echo "== $package $target for $time"
    go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x
  done
done
