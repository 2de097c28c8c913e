# Sourced by the parts of the ECS suite: clients of AWS that others wrote, and servers for them on loopback.

AWSCLI_VERSION=1.46.2
BOTO3_VERSION=1.44.5
MOTO_VERSION=5.2.5

# Prints the folder of a Python environment with these clients; made once, and kept outside of the checkout.
clients() {
    local cache folder
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/deploy-kit"
    folder="$cache/aws-clients-$AWSCLI_VERSION-$BOTO3_VERSION-$MOTO_VERSION"
    mkdir -p "$cache"
    (
        flock 9
        [[ ! -f $folder/complete ]] || exit 0
        rm -rf "$folder"
        python3 -c 'import ensurepip, venv' 2>/dev/null || {
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
        }
        python3 -m venv "$folder"
        "$folder/bin/pip" install --quiet --disable-pip-version-check \
            "awscli==$AWSCLI_VERSION" "boto3==$BOTO3_VERSION" "moto[server]==$MOTO_VERSION"
        touch "$folder/complete"
    ) 9>"$folder.lock" >&2 || return 1
    echo "$folder"
}

# What every client finds in its environment; nothing of the caller's own account.
aws_environment() {
    local name
    for name in $(compgen -e AWS_ || true); do unset "$name"; done
    export AWS_ACCESS_KEY_ID=emulator AWS_SECRET_ACCESS_KEY=emulator AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
    export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true AWS_PAGER=
    export AWS_MAX_ATTEMPTS=2 AWS_RETRY_MODE=standard
}

# emulator SPEED FOLDER: serves one on a free port and exports AWS_ENDPOINT_URL. Until the shell ends: then the server
# and the folder go.
emulator() {
    "$ECS_EMULATOR" --listen 127.0.0.1:0 --speed "$1" >"$2/ready" &
    server=$!
    trap 'end_server; rm -rf "$folder"' EXIT
    until_ready grep -q '^listening on ' "$2/ready"
    AWS_ENDPOINT_URL=$(sed -n 's/^listening on //p' "$2/ready")
    export AWS_ENDPOINT_URL
}

# moto: serves it on a free port and exports AWS_ENDPOINT_URL. Until the shell ends.
moto() {
    local port
    port=$(python -c 'import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    print(free.getsockname()[1])')
    moto_server -H 127.0.0.1 -p "$port" >/dev/null 2>&1 &
    server=$!
    trap end_server EXIT
    export AWS_ENDPOINT_URL=http://127.0.0.1:$port
    until_ready python -c "import urllib.request; urllib.request.urlopen('$AWS_ENDPOINT_URL/moto-api/').read()" 2>/dev/null
}

end_server() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
}

# until_ready COMMAND...: at most 30 s.
until_ready() {
    local tries
    for tries in $(seq 300); do
        if "$@"; then return; fi
        kill -0 "$server" || { echo "the server has ended"; return 1; }
        sleep 0.1
    done
    echo "the server was not ready after $tries tries"
    return 1
}

passed=0 failed=0

# check NAME EXPECTED ACTUAL
check() {
    if [[ $2 == "$3" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$3"
    fi
}

# refused NAME CODE COMMAND...: the command must fail with this error code of AWS.
refused() {
    local name=$1 code=$2 said
    shift 2
    if said=$("$@" 2>&1); then said="no error"; fi
    said=$(sed -n 's/.*An error occurred (\([A-Za-z]*\)).*/\1/p' <<<"$said")
    check "$name" "$code" "$said"
}

result() {
    echo "RESULT passed=$passed failed=$failed"
    ((failed == 0 && passed > 0))
}
