#!/usr/bin/env bash
# Runs every fuzz target with libFuzzer for FUZZ_SECONDS (60) each, from the corpus in git; FUZZ_TARGETS names some of
# them. Needs no nightly compiler: the sanitizers that would are off, since there is no unsafe code to look into.
#
# What it finds stays out of git: new inputs in target/fuzz/corpus, where the next run goes on, and inputs that broke a
# property in tests/fuzz/artifacts. Fix the bug, and put such an input into tests/fuzz/corpus under a name that says what it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=0.13.2
seconds=${FUZZ_SECONDS:-60}
read -r -a targets <<< "${FUZZ_TARGETS:-acl_file glob judge keys reply request rules session}"

if ! .tools/bin/cargo-fuzz --version 2>/dev/null | grep -qF " $version"; then
    echo "installing cargo-fuzz $version into .tools"
    cargo install --locked --quiet --version "$version" --root .tools cargo-fuzz
fi
if ! c++ --version >/dev/null 2>&1; then
    echo "error: libFuzzer needs a C++ compiler: sudo apt-get install -y g++" >&2
    exit 1
fi

for target in "${targets[@]}"; do
    mkdir -p "target/fuzz/corpus/$target"
    .tools/bin/cargo-fuzz run --sanitizer none --fuzz-dir tests/fuzz --target-dir target/fuzz "$target" \
        "target/fuzz/corpus/$target" "tests/fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -max_len=4096 -print_final_stats=1
    echo "$target: $seconds seconds, nothing found"
done
