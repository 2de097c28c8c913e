# Images with a real Docker Engine and a registry with authentication, both started by the binary on loopback. As root.
set -euo pipefail
source e2e/lib.sh

if ((EUID != 0)); then
    echo "MISSING the rights to start a Docker Engine: run it as root"
    exit 0
fi
packages=()
command -v dockerd >/dev/null || packages+=(docker.io)
command -v docker-registry >/dev/null || packages+=(docker-registry)
command -v skopeo >/dev/null || packages+=(skopeo)
command -v ip >/dev/null || packages+=(iproute2)
command -v cc >/dev/null || packages+=(build-essential)
command -v perl >/dev/null || packages+=(perl)
if ((${#packages[@]} > 0)); then
    echo "installing: ${packages[*]}"
    # What a package starts by itself is not ours to use, nor to end: nothing is started.
    apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
        { echo "MISSING ${packages[*]}, which cannot be installed here"; exit 0; }
fi
# Whoever runs this may have an Engine and logins of their own.
unset DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_TLS_VERIFY DOCKER_CERT_PATH
# A credential helper.
export PATH="$PWD/e2e/src/bin/images:$PATH"
profile=dev folder=debug
if [[ $1 == full ]]; then profile=release folder=release; fi
cargo build --quiet --locked --workspace --all-features --profile "$profile" --bin ecs
ECS_TOOL=$(realpath "${CARGO_TARGET_DIR:-target}/$folder/ecs")
export ECS_TOOL
suite_bin images "$1"
