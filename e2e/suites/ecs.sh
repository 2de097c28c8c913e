# ECS against its emulator: deployer processes are killed at every point and resumed. By hand:
#   cargo run -p e2e --bin kills -- --quick
set -euo pipefail
source e2e/lib.sh
suite_bin kills "$1"
