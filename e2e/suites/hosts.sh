# Git remotes and commands over ssh, with a real git and a real sshd on loopback, which the binary starts as whoever runs it.
# By hand: cargo run -p e2e --bin hosts -- --quick
set -euo pipefail
source e2e/lib.sh

packages=()
[[ -x /usr/sbin/sshd ]] || packages+=(openssh-server)
command -v ssh >/dev/null || packages+=(openssh-client)
command -v git >/dev/null || packages+=(git)
if ((${#packages[@]} > 0)); then
    if ((EUID != 0)); then
        echo "MISSING ${packages[*]}, which only root can install"
        exit 0
    fi
    echo "installing: ${packages[*]}"
    # What a package starts by itself is not ours to use, nor to end: nothing is started.
    apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
        { echo "MISSING ${packages[*]}, which cannot be installed here"; exit 0; }
fi
# Whoever runs this may have an agent and settings of their own.
unset SSH_AUTH_SOCK GIT_DIR GIT_WORK_TREE GIT_SSH GIT_SSH_COMMAND
suite_bin hosts "$1"
