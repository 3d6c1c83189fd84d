# shellcheck shell=bash
# Checks, one after the other, all of them even if one fails, and their sum.

PASSED=0
FAILED=0

# check NAME COMMAND… : one check which is no test of the test runner's.
check() {
    local name=$1
    shift
    note "$name"
    if "$@"; then
        PASSED=$((PASSED + 1))
    else
        FAILED=$((FAILED + 1))
        note "$name FAILED"
    fi
}

# run_tests NAME COMMAND… : test executables; adds up their summaries. A test that is skipped or
# ignored has failed to show what it is there for.
run_tests() {
    local name=$1 log status=0 counts passed failed ignored
    shift
    note "$name"
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" || status=${PIPESTATUS[0]}
    counts=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored;.*/\1 \2 \3/p' "$log" |
        awk '{ passed += $1; failed += $2 + $3; ignored += $3 } END { print passed + 0, failed + 0, ignored + 0 }')
    read -r passed failed ignored <<<"$counts"
    if [[ $ignored -gt 0 ]]; then
        note "$ignored skipped, which counts as failed:"
        grep -E '^test .* \.\.\. ignored' "$log" >&2 || true
    fi
    # Such as a test that does not compile, or a runner that was killed.
    if [[ $status -ne 0 && $failed -eq 0 ]]; then
        note "$name ended with status $status"
        failed=1
    fi
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
    rm -f "$log"
}

# The last line, and the exit code.
report() {
    if [[ $((PASSED + FAILED)) -eq 0 ]]; then
        note "nothing ran"
        FAILED=1
    fi
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
    [[ $FAILED -eq 0 ]]
}
