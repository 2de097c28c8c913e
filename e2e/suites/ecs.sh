# ECS: deployer processes against the emulator, killed at every point and resumed; clients that others wrote against
# the served emulator; and our client against moto. By hand:
#   cargo run -p e2e --bin kills -- --quick
#   e2e/suites/ecs.sh quick clients      only the clients
set -euo pipefail
source e2e/lib.sh
source e2e/suites/ecs/clients.sh
mode=$1
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
all_passed=0 all_failed=0

# sum NAME STATUS: adds the result that a part has written to its log.
sum() {
    local last
    cat "$logs/$1"
    last=$(tail -n 1 "$logs/$1")
    if [[ $last =~ ^RESULT\ passed=([0-9]+)\ failed=([0-9]+)$ ]]; then
        all_passed=$((all_passed + BASH_REMATCH[1])) all_failed=$((all_failed + BASH_REMATCH[2]))
        if (($2 != 0 && BASH_REMATCH[2] == 0)); then all_failed=$((all_failed + 1)); fi
    else
        echo "$1 ended with status $2 and without a result"
        all_failed=$((all_failed + 1))
    fi
}

# part NAME COMMAND...: runs it to its end.
part() {
    local name=$1 status=0
    shift
    "$@" >"$logs/$name" 2>&1 || status=$?
    echo "-- $name: $SECONDS s since the start"
    sum "$name" "$status"
}

if [[ ${2:-all} == all ]]; then
    status=0
    kills=$(bin kills "$mode") || status=$?
    ((status == 0)) || { echo "kills does not compile"; exit 1; }
    part kills "$kills" "--$mode"
fi

ECS_EMULATOR=$(bin ecs-emulator "$mode")
MOTO_CLIENT=$(bin moto "$mode")
export ECS_EMULATOR MOTO_CLIENT
if folder=$(clients); then
    export PATH="$folder/bin:$PATH"
    # They wait most of the time, so they wait together.
    names=(cli boto moto) pids=()
    for name in "${names[@]}"; do
        bash "e2e/suites/ecs/$name.sh" >"$logs/$name" 2>&1 &
        pids+=("$!")
    done
    for at in "${!names[@]}"; do
        status=0
        wait "${pids[$at]}" || status=$?
        echo "-- ${names[$at]}: $SECONDS s since the start"
        sum "${names[$at]}" "$status"
    done
elif ((all_failed == 0)); then
    echo "MISSING the aws CLI, boto3 and moto: they cannot be installed here"
    exit 0
fi
echo "RESULT passed=$all_passed failed=$all_failed"
((all_failed == 0 && all_passed > 0))
