# Sourced by the package tests: one line a check, and the numbers at the end.
# shellcheck shell=bash

passed=0
failed=0

# check TEXT COMMAND…: passes if the command succeeds; shows what it printed if not.
check() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "  ok    $text"
    else
        failed=$((failed + 1))
        echo "  FAIL  $text"
        echo "        command: $*"
        if [ -n "$output" ]; then
            printf '        %s\n' "${output//$'\n'/$'\n        '}"
        fi
    fi
}

# refuse TEXT COMMAND…: passes if the command fails.
refuse() {
    local text=$1
    shift
    check "$text" not "$@"
}

not() {
    ! "$@"
}

# equal FOUND WANTED: says both where they differ.
equal() {
    [ "$1" = "$2" ] || {
        echo "found '$1', wanted '$2'"
        return 1
    }
}

# within SECONDS COMMAND…: tries until the command succeeds or the time is over.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            return 1
        fi
        sleep 0.2
    done
}

# finish NAME: the closing line; fails if a check did, or if none ran.
finish() {
    echo "$1: $passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
