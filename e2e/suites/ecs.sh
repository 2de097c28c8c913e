# ECS, in five parts: deployer processes against the served emulator, killed at every point and resumed (kills); the aws
# CLI (cli) and boto3 (boto) against the served emulator; our client against moto (moto), and what makes images (images).
# By hand:
#   cargo run -p e2e --bin kills -- --quick
#   bash e2e/suites/ecs.sh quick clients      all but kills
set -euo pipefail
source e2e/lib.sh
source e2e/suites/ecs/clients.sh
mode=$1 parts=${2:-all}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# path NAME: a binary of ours.
path() {
    bin "$1" "$mode" || { echo "$1 cannot be built" >&2; return 1; }
}

# sum NAME STATUS: shows what a part wrote to its log, and adds up its result.
sum() {
    local last said
    last=$(tail -n 1 "$logs/$1")
    grep -v '^RESULT ' "$logs/$1" || true
    if [[ $last =~ ^RESULT\ passed=([0-9]+)\ failed=([0-9]+)$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        said=${last#RESULT }
        if (($2 != 0 && BASH_REMATCH[2] == 0)); then failed=$((failed + 1)) said+=", but it ended with status $2"; fi
    else
        failed=$((failed + 1)) said="it ended with status $2 and without a result"
    fi
    echo "-- $1, $SECONDS s after the start: $said"
}

if [[ $parts == all ]]; then
    kills=$(path kills)
    status=0
    "$kills" "--$mode" >"$logs/kills" 2>&1 || status=$?
    sum kills "$status"
fi

ECS_EMULATOR=$(path ecs-emulator)
MOTO_CLIENT=$(path moto)
MOTO_IMAGES=$(path moto-images)
export ECS_EMULATOR MOTO_CLIENT MOTO_IMAGES
if folder=$(clients); then
    export PATH="$folder/bin:$PATH"
    # They wait most of the time, so they wait together.
    names=(cli boto moto images) pids=()
    for name in "${names[@]}"; do
        bash "e2e/suites/ecs/$name.sh" >"$logs/$name" 2>&1 &
        pids+=("$!")
    done
    for at in "${!names[@]}"; do
        status=0
        wait "${pids[$at]}" || status=$?
        sum "${names[$at]}" "$status"
    done
elif ((failed == 0)); then
    echo "MISSING the aws CLI, boto3 and moto, which cannot be installed here"
    exit 0
fi
result
